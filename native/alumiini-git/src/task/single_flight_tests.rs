use super::*;

use tokio::sync::Semaphore;

use crate::error::Error;
use crate::error::Kind;
use crate::task::fault::Fault;

/// Flights that begin and end when they are let, and count themselves.
struct Airport {
    flights: Arc<SingleFlight<&'static str, usize>>,
    begun: watch::Sender<usize>,
    may_end: Arc<Semaphore>,
    /// One at a time begins.
    runway: Arc<tokio::sync::Mutex<()>>,
}

fn job() -> Arc<Job> {
    Arc::new(Job::new(CancellationToken::new(), Fault::default()))
}

impl Airport {
    fn new() -> Airport {
        Airport {
            flights: Arc::default(),
            begun: watch::Sender::new(0),
            may_end: Arc::new(Semaphore::new(0)),
            runway: Arc::default(),
        }
    }

    fn ask(&self, key: &'static str) -> impl Future<Output = Result<usize>> + Send + 'static {
        let (flights, begun, may_end) = (
            self.flights.clone(),
            self.begun.clone(),
            self.may_end.clone(),
        );
        let runway = self.runway.clone();
        async move {
            let go = |lead: Lead<&'static str, usize>| async move {
                let _runway = if key == "a" {
                    Some(runway.lock_owned().await)
                } else {
                    None
                };
                lead.begin();
                let mut number = 0;
                begun.send_modify(|begun| {
                    number = *begun;
                    *begun += 1;
                });
                may_end
                    .acquire()
                    .await
                    .map(|permit| permit.forget())
                    .unwrap();
                Ok(number)
            };
            flights.run(key, &job(), go).await
        }
    }

    async fn begun(&self, count: usize) {
        self.begun
            .subscribe()
            .wait_for(|begun| *begun >= count)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn however_many_ask_at_once_two_are_flown_and_none_is_older_than_who_asked() {
    let airport = Airport::new();
    let first = tokio::spawn(airport.ask("a"));
    airport.begun(1).await;
    let others: Vec<_> = (0..50).map(|_| tokio::spawn(airport.ask("a"))).collect();
    let of_another = tokio::spawn(airport.ask("b"));
    airport.begun(2).await;
    airport.may_end.add_permits(3);
    assert_eq!(first.await.unwrap().unwrap(), 0);
    assert_eq!(of_another.await.unwrap().unwrap(), 1);
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), 2);
    }
    assert_eq!(*airport.begun.borrow(), 3);
    assert!(lock(&airport.flights.waiting).is_empty());
}

#[tokio::test]
async fn a_flight_that_nobody_waits_for_is_given_up_and_holds_up_nobody() {
    let airport = Airport::new();
    let first = tokio::spawn(airport.ask("a"));
    airport.begun(1).await;
    let second = tokio::spawn(airport.ask("a"));
    first.abort();
    airport.begun(2).await;
    airport.may_end.add_permits(1);
    assert_eq!(second.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn the_job_of_a_flight_is_cancelled_when_its_last_member_has_gone_and_not_before() {
    let flights: Arc<SingleFlight<u8, u8>> = Arc::default();
    let led = Arc::new(Mutex::new(None));
    let go = |lead: Lead<u8, u8>| {
        *lock(&led) = Some(lead.job().clone());
        std::future::pending()
    };
    let (a, b, c) = (job(), job(), job());
    let mut first = Box::pin(flights.run(1, &a, go));
    let mut second = Box::pin(flights.run(1, &b, |_| async { unreachable!("it is shared") }));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    let shared = lock(&led).take().unwrap();
    drop(first);
    assert!(!shared.is_cancelled());
    drop(second);
    assert!(shared.is_cancelled());
    // And nobody can join what was given up.
    assert_eq!(flights.run(1, &c, |_| async { Ok(3) }).await, Ok(3));
}

#[tokio::test]
async fn an_error_and_a_panic_are_answers() {
    let flights: Arc<SingleFlight<u8, u8>> = Arc::default();
    let refused = Error::new(Kind::Auth, "no");
    let answer = flights
        .run(1, &job(), |_| async { Err(Error::new(Kind::Auth, "no")) })
        .await;
    assert_eq!(answer, Err(refused));
    let answer = flights
        .run(1, &job(), |_| async { panic!("for the test") })
        .await;
    assert_eq!(answer, Err(panicked()));
    assert_eq!(flights.run(1, &job(), |_| async { Ok(2) }).await, Ok(2));
}

/// However many share an answer, remotes were asked for it once.
#[tokio::test]
async fn the_requests_of_shared_work_are_told_once() {
    let flights: Arc<SingleFlight<u8, u8>> = Arc::default();
    let may_end = Arc::new(Semaphore::new(0));
    let go = |_lead: Lead<u8, u8>| {
        let may_end = may_end.clone();
        async move {
            let _permit = may_end.acquire().await;
            for _ in 0..3 {
                patience::asked();
            }
            patience::again();
            Ok(1)
        }
    };
    let (a, b) = (job(), job());
    let both = async { tokio::join!(flights.run(1, &a, go), flights.run(1, &b, go)) };
    may_end.add_permits(1);
    assert_eq!(both.await, (Ok(1), Ok(1)));
    let spent = |job: &Job| (job.patience.spent().requests, job.patience.spent().retries);
    let (a, b) = (spent(&a), spent(&b));
    assert_eq!((a.0 + b.0, a.1 + b.1), (3, 1));
    assert!(a == (0, 0) || b == (0, 0));
}

/// The work of several requests waits as long as the most patient of them, and each of them has
/// waited with it, from when it came.
#[tokio::test(start_paused = true)]
async fn those_who_share_work_share_its_patience() {
    let flights: Arc<SingleFlight<&str, Option<tokio::time::Instant>>> = Arc::default();
    let start = tokio::time::Instant::now();
    let second = std::time::Duration::from_secs(1);
    let ask = |deadline: u32| {
        let (flights, job) = (flights.clone(), job());
        job.patience.until(Some(start + second * deadline));
        async move {
            let go = |_lead: Lead<_, _>| async move {
                tokio::time::sleep(second).await;
                patience::waited(second);
                tokio::time::sleep(second).await;
                patience::waited(second);
                Ok(patience::deadline())
            };
            let deadline = flights.run("a", &job, go).await.unwrap();
            (deadline.unwrap() - start, job.patience.waited())
        }
    };
    let first = tokio::spawn(ask(5));
    tokio::time::sleep(second * 3 / 2).await;
    let others = [9, 7].map(|deadline| tokio::spawn(ask(deadline)));
    assert_eq!(first.await.unwrap(), (second * 9, second * 2));
    for other in others {
        let (deadline, waited) = other.await.unwrap();
        assert_eq!(deadline, second * 9);
        assert!((second / 2..=second).contains(&waited), "{waited:?}");
    }
    assert_eq!(patience::deadline(), None);
}
