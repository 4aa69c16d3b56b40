//! Tokens of Google Cloud: of the metadata server, and by workload identity federation, which
//! exchanges a token of somebody else (RFC 8693).

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::error::Result;
use crate::net::secrets::Secrets;
use crate::net::token::endpoints::below;
use crate::net::token::fresh::{Fresh, Token};
use crate::net::token::json::{self, AccessToken};
use crate::net::token::request::{Asker, Request, Way, encoded};
use crate::net::token::source::Google;
use crate::net::token::token_file;
use crate::policy::addresses::Addresses;

pub(super) const METADATA: &str = "http://metadata.google.internal";
pub(super) const STS: &str = "https://sts.googleapis.com";
const IAM_CREDENTIALS: &str = "https://iamcredentials.googleapis.com";
/// Where the metadata server is, from each machine that has one.
const METADATA_ADDRESSES: [&[u8]; 2] = [b"169.254.169.254", b"fd20:ce::254"];
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Google's Git servers take a token as the password of this user.
const USER: &str = "git-service-account";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

/// A new token. `protocol`: what answered is no metadata server. Else the errors of [`Asker::ask`]
/// and [`token_file::read`].
pub(super) async fn token(asker: &Asker, way: &Way, google: &Google) -> Result<Fresh> {
    match google {
        Google::Metadata {
            service_account,
            endpoint,
        } => metadata(asker, way, service_account.as_deref(), endpoint.as_deref()).await,
        Google::Federation {
            audience,
            token_file,
            service_account,
            endpoint,
            impersonation_endpoint,
        } => {
            let federated = exchange(asker, way, audience, token_file, endpoint.as_deref()).await?;
            match service_account {
                None => Ok(Fresh {
                    lifetime: federated.lifetime(),
                    token: Token::password(USER, federated.access_token),
                    clock: 0,
                }),
                Some(account) => {
                    let token = federated.access_token;
                    let endpoint = impersonation_endpoint.as_deref();
                    impersonate(asker, way, account, token, endpoint).await
                }
            }
        }
    }
}

async fn metadata(
    asker: &Asker,
    way: &Way,
    account: Option<&str>,
    endpoint: Option<&str>,
) -> Result<Fresh> {
    let path = format!(
        "/computeMetadata/v1/instance/service-accounts/{}/token",
        encoded(account.unwrap_or("default"))
    );
    let url = below(endpoint, METADATA, &path)?;
    let own;
    let way = match endpoint {
        None => {
            own = to_metadata()?;
            &own
        }
        Some(_) => way,
    };
    let request = Request::get(url).header("metadata-flavor", "Google");
    let reply = asker.ask(way, &request, &Secrets::default()).await?;
    if reply
        .headers
        .get("metadata-flavor")
        .map(|flavor| flavor.as_bytes())
        != Some(b"Google")
    {
        return Err(reply.unreadable("the header Metadata-Flavor: Google"));
    }
    let made = AccessToken::of(&reply)?;
    Ok(Fresh {
        lifetime: made.lifetime(),
        token: Token::password(USER, made.access_token),
        clock: 0,
    })
}

/// The way to the metadata server, which is on the machine's own network: no proxy leads to it. The
/// rules for addresses forbid that network for the sake of URLs that somebody else chooses. This
/// one nobody does, and what its name resolves to must be the one address that it has.
fn to_metadata() -> Result<Way> {
    let addresses = METADATA_ADDRESSES.map(<[u8]>::to_vec);
    Ok(Way {
        ca: None,
        route: None,
        addresses: Arc::new(Addresses::new(Some("none"), &addresses, &[])?),
    })
}

async fn exchange(
    asker: &Asker,
    way: &Way,
    audience: &str,
    token_file: &Path,
    endpoint: Option<&str>,
) -> Result<AccessToken> {
    let subject = token_file::read(token_file).await?;
    let mut secrets = Secrets::default();
    secrets.add(&subject);
    let pairs = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("audience", audience),
        ("scope", SCOPE),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", &subject),
    ];
    let request = Request::form(below(endpoint, STS, "/v1/token")?, &pairs);
    AccessToken::of(&asker.ask(way, &request, &secrets).await?)
}

async fn impersonate(
    asker: &Asker,
    way: &Way,
    account: &str,
    token: String,
    endpoint: Option<&str>,
) -> Result<Fresh> {
    let mut secrets = Secrets::default();
    secrets.add(&token);
    let path = format!(
        "/v1/projects/-/serviceAccounts/{}:generateAccessToken",
        encoded(account)
    );
    let body = serde_json::json!({"scope": [SCOPE], "lifetime": "3600s"}).to_string();
    let request = Request::json(below(endpoint, IAM_CREDENTIALS, &path)?, body).bearer(token);
    let reply = asker.ask(way, &request, &secrets).await?;
    let made: Impersonated = json::parsed(&reply, "an `accessToken` and `expireTime`")?;
    Ok(Fresh {
        lifetime: reply.lifetime_until(&made.expire_time)?,
        token: Token::password(USER, made.access_token),
        clock: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_server_is_at_its_own_address_only() {
        let way = to_metadata().unwrap();
        assert!(way.route.is_none());
        for (address, is_allowed) in [
            ("169.254.169.254", true),
            ("fd20:ce::254", true),
            ("169.254.169.253", false),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("8.8.8.8", false),
            ("::1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(way.addresses.allows(address), is_allowed, "{address}");
        }
    }
}
