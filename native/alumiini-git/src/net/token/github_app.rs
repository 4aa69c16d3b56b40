//! Tokens of an installation of a GitHub App: asked for with a JSON Web Token (RFC 7519) that the
//! app's key signs (docs.github.com, "Authenticating as a GitHub App installation").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use crate::error::{Detail, Error, Hint, Key, Kind, Result};
use crate::net::pem::tidied;
use crate::net::secrets::Secrets;
use crate::net::token::civil;
use crate::net::token::endpoints::below;
use crate::net::token::fresh::{Fresh, Token};
use crate::net::token::json;
use crate::net::token::request::{Asker, Reply, Request, Way, encoded};
use crate::net::token::source::{GithubApp, Installation};

pub(super) const API: &str = "https://api.github.com";
/// Git takes an installation's token as the password of this user.
const USER: &str = "x-access-token";
/// How long before now it was issued, in seconds, and how long after now it ends. GitHub takes none
/// that was issued in its future, and none that ends in more than ten minutes.
const ISSUED: i64 = 60;
const ENDS: i64 = 540;

#[derive(Deserialize)]
struct Found {
    id: u64,
}

#[derive(Deserialize)]
struct Made {
    token: String,
    expires_at: String,
}

/// A new token. `clock`: how many seconds GitHub's clock is ahead of ours, as far as is known.
/// Where it says another time, and does not take what we sign, that is signed once more, for its
/// time.
///
/// `invalid`: a private key that cannot be used. `auth`: no such app or installation. Else the
/// errors of [`Asker::ask`].
pub(super) async fn token(asker: &Asker, way: &Way, app: &GithubApp, clock: i64) -> Result<Fresh> {
    match by_clock(asker, way, app, clock).await {
        Err(error) => match error.hint {
            Some(Hint::Clock(theirs)) if theirs.abs_diff(clock) > 30 => {
                by_clock(asker, way, app, theirs).await
            }
            _ => Err(error),
        },
        done => done,
    }
}

async fn by_clock(asker: &Asker, way: &Way, app: &GithubApp, clock: i64) -> Result<Fresh> {
    let jwt = signed(&app.app_id, &app.private_key, civil::now() + clock)?;
    let mut secrets = Secrets::default();
    secrets.add(&jwt);
    let api = Api {
        asker,
        way,
        app,
        jwt,
        secrets,
    };
    let id = match &app.installation {
        Installation::Id(id) => *id,
        Installation::Owner(owner) => api.find(owner).await?,
    };
    let path = format!("/app/installations/{id}/access_tokens");
    let reply = api.ask(&path, true).await.map_err(|error| {
        let why = match status(&error) {
            Some(404) => format!(
                "GitHub App {} has no installation {id}, or it was removed: check \
                 installation_id",
                app.app_id
            ),
            Some(401) => refused(app),
            _ => return error,
        };
        error.context(why)
    })?;
    let made: Made = json::parsed(&reply, "a `token` and `expires_at`")?;
    Ok(Fresh {
        lifetime: reply.lifetime_until(&made.expires_at)?,
        token: Token::password(USER, made.token),
        clock,
    })
}

fn refused(app: &GithubApp) -> String {
    format!(
        "GitHub does not take what the private key of App {} has signed: check app_id, the key \
         and this machine's clock",
        app.app_id
    )
}

fn status(error: &Error) -> Option<u64> {
    error.detail.get(&Key::Status).and_then(Detail::as_u64)
}

struct Api<'a> {
    asker: &'a Asker,
    way: &'a Way,
    app: &'a GithubApp,
    jwt: String,
    secrets: Secrets,
}

impl Api<'_> {
    async fn ask(&self, path: &str, post: bool) -> Result<Reply> {
        let url = below(self.app.api_url.as_deref(), API, path)?;
        let request = match post {
            true => Request::json(url, "{}".to_owned()),
            false => Request::get(url),
        };
        let request = request
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .bearer(self.jwt.clone());
        self.asker.ask(self.way, &request, &self.secrets).await
    }

    /// The installation for an account, which may be an organisation or a user.
    async fn find(&self, owner: &str) -> Result<u64> {
        let mut last = None;
        for kind in ["orgs", "users"] {
            let path = format!("/{kind}/{}/installation", encoded(owner));
            match self.ask(&path, false).await {
                Ok(reply) => return Ok(json::parsed::<Found>(&reply, "an `id`")?.id),
                Err(error) if status(&error) == Some(StatusCode::NOT_FOUND.as_u16().into()) => {
                    last = Some(error);
                }
                Err(error) if status(&error) == Some(401) => {
                    return Err(error.context(refused(self.app)));
                }
                Err(error) => return Err(error),
            }
        }
        let why = format!(
            "GitHub App {} is not installed for {owner}: install it there, or check owner",
            self.app.app_id
        );
        Err(last
            .unwrap_or_else(|| Error::new(Kind::Auth, "nothing was asked"))
            .context(why))
    }
}

/// A JSON Web Token by which the app says at `now` that it is itself.
fn signed(app_id: &str, private_key: &str, now: i64) -> Result<String> {
    let header = serde_json::json!({"alg": "RS256", "typ": "JWT"});
    let claims = serde_json::json!({"iat": now - ISSUED, "exp": now + ENDS, "iss": app_id});
    let [header, claims] =
        [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string().as_bytes()));
    let text = format!("{header}.{claims}");
    // Not the parser's own error: it may quote what it read.
    let unusable = || {
        Error::invalid(
            "`private_key` of the GitHub App is no RSA key in PEM that can be used: pass the text \
             of the .pem file that GitHub made for the app",
        )
    };
    let key =
        PrivateKeyDer::from_pem_slice(tidied(private_key).as_bytes()).map_err(|_| unusable())?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| unusable())?;
    let signer = key
        .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
        .ok_or_else(unusable)?;
    let signature = signer.sign(text.as_bytes()).map_err(|_| unusable())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_sign_are_refused_without_being_shown() {
        let ec = "-----BEGIN PRIVATE KEY-----\n\
                  MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\n\
                  OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n\
                  1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G\n\
                  -----END PRIVATE KEY-----\n";
        for key in [
            "",
            "no key",
            "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n",
            ec,
        ] {
            let error = signed("1", key, 0).unwrap_err();
            assert_eq!(error.kind, Kind::Invalid);
            assert!(!error.message.contains("c2Vj"), "{error}");
        }
    }
}
