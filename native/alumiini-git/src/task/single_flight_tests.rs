use super::*;
use tokio::sync::Semaphore;

/// SingleFlight that end when they are let, and count themselves.
struct Post {
    flights: Arc<SingleFlight<&'static str, usize>>,
    sent: watch::Sender<usize>,
    may_end: Arc<Semaphore>,
}

impl Post {
    fn new() -> Post {
        Post {
            flights: Arc::default(),
            sent: watch::Sender::new(0),
            may_end: Arc::new(Semaphore::new(0)),
        }
    }

    fn ask(&self, key: &'static str) -> impl Future<Output = Result<usize>> + Send + 'static {
        let (flights, sent, may_end) = (self.flights.clone(), self.sent.clone(), self.may_end.clone());
        async move {
            flights
                .run(key, async move {
                    let mut number = 0;
                    sent.send_modify(|sent| {
                        number = *sent;
                        *sent += 1;
                    });
                    may_end.acquire().await.map(|permit| permit.forget()).unwrap();
                    Ok(number)
                })
                .await
        }
    }

    async fn sent(&self, count: usize) {
        self.sent.subscribe().wait_for(|sent| *sent >= count).await.unwrap();
    }
}

#[tokio::test]
async fn however_many_ask_at_once_two_are_sent_and_none_is_older_than_who_asked() {
    let post = Post::new();
    let first = tokio::spawn(post.ask("a"));
    post.sent(1).await;
    let others: Vec<_> = (0..50).map(|_| tokio::spawn(post.ask("a"))).collect();
    let else_where = tokio::spawn(post.ask("b"));
    post.sent(2).await;
    post.may_end.add_permits(3);
    assert_eq!(first.await.unwrap().unwrap(), 0);
    assert_eq!(else_where.await.unwrap().unwrap(), 1);
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), 2);
    }
    assert_eq!(*post.sent.borrow(), 3);
    // The leader lets go after it has answered.
    while !lock(&post.flights.map).is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_errand_that_nobody_waits_for_is_given_up_and_holds_up_nobody() {
    let post = Post::new();
    let first = tokio::spawn(post.ask("a"));
    post.sent(1).await;
    let second = tokio::spawn(post.ask("a"));
    first.abort();
    post.sent(2).await;
    post.may_end.add_permits(1);
    assert_eq!(second.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let flights: Arc<SingleFlight<u8, u8>> = Arc::default();
    let answer = flights.run(1, async { panic!("for the test") }).await;
    assert_eq!(answer, Err(panicked()));
    assert_eq!(flights.run(1, async { Ok(2) }).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_long_is_not_waited_for() {
    let post = Post::new();
    let _stuck = tokio::spawn(post.ask("a"));
    post.sent(1).await;
    let second = tokio::spawn(post.ask("a"));
    // Time goes on by itself when nothing else does.
    post.sent(2).await;
    post.may_end.add_permits(2);
    assert_eq!(second.await.unwrap().unwrap(), 1);
}
