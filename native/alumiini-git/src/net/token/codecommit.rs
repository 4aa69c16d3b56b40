//! Credentials for AWS CodeCommit: a password that is a signature (Signature Version 4) of the
//! request's host and path, as AWS's own helpers for Git make it, and the keys to sign with, given
//! or of a role (AssumeRoleWithWebIdentity).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::net::auth::Auth;
use crate::net::secrets::Secrets;
use crate::net::token::civil;
use crate::net::token::endpoints::below;
use crate::net::token::fresh::{Fresh, Token};
use crate::net::token::request::{Asker, Reply, Request, Way};
use crate::net::token::source::{AwsKeys, AwsProof, CodeCommit};
use crate::net::token::token_file;
use crate::net::url::HttpUrl;

const SERVICE: &str = "codecommit";
/// Of keys that were given: they end when their owner says so.
const GIVEN: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

/// The keys to sign with. `auth`: the token service gives none. Else the errors of [`Asker::ask`]
/// and [`token_file::read`].
pub(super) async fn keys(
    asker: &Asker,
    way: &Way,
    source: &CodeCommit,
    region: &str,
    clock: i64,
) -> Result<Fresh> {
    let (role_arn, session_name, token_file, endpoint) = match &source.proof {
        AwsProof::Keys(keys) => {
            return Ok(Fresh {
                token: Token::Keys(keys.clone()),
                lifetime: GIVEN,
                clock,
            });
        }
        AwsProof::WebIdentity {
            role_arn,
            session_name,
            token_file,
            endpoint,
        } => (role_arn, session_name, token_file, endpoint),
    };
    let identity = token_file::read(token_file).await?;
    let mut secrets = Secrets::default();
    secrets.add(&identity);
    let pairs = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role_arn),
        ("RoleSessionName", session_name),
        ("WebIdentityToken", &identity),
    ];
    let url = below(endpoint.as_deref(), &token_service(region), "/")?;
    let reply = asker
        .ask(way, &Request::form(url, &pairs), &secrets)
        .await?;
    assumed(&reply, clock)
}

/// Where the token service of a region is.
pub(super) fn token_service(region: &str) -> String {
    let domain = match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    };
    format!("https://sts.{region}.{domain}")
}

/// The region of a remote: the one that was given, or that in the name of its host.
pub(super) fn region(source: &CodeCommit, url: &HttpUrl) -> Result<String> {
    if let Some(region) = &source.region {
        return Ok(region.clone());
    }
    let host = url.as_url().host_str().unwrap_or("");
    let mut parts = host.split('.');
    let service = parts.next().unwrap_or("");
    match parts.next() {
        Some(region) if service.starts_with("git-codecommit") && is_of_aws(host) => {
            Ok(region.to_owned())
        }
        _ => Err(Error::new(
            Kind::Invalid,
            format!("the host of {url} names no region of AWS: give the option region"),
        )),
    }
}

fn is_of_aws(host: &str) -> bool {
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// The login for a repository at `time`, our own or that of AWS.
pub(super) fn login(keys: &AwsKeys, region: &str, url: &HttpUrl, time: i64) -> Auth {
    let host = url.as_url().host_str().unwrap_or("");
    let host = match url.as_url().port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let path = url.as_url().path().trim_end_matches('/');
    let timestamp = civil::basic(time);
    let signature = signature(keys, region, (&host, path), &timestamp);
    let username = match &keys.session_token {
        Some(token) => format!("{}%{token}", keys.access_key_id),
        None => keys.access_key_id.clone(),
    };
    Auth::Basic {
        username,
        password: format!("{timestamp}Z{signature}"),
    }
}

/// Signature Version 4, of a request by the method `GIT` that has no body to sign. Its time has no
/// zone, unlike elsewhere.
fn signature(keys: &AwsKeys, region: &str, (host, path): (&str, &str), timestamp: &str) -> String {
    let date = timestamp.get(..8).unwrap_or_default();
    let request = format!("GIT\n{path}\n\nhost:{host}\n\nhost\n");
    let scope = format!("{date}/{region}/{SERVICE}/aws4_request");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{}",
        hex(&Sha256::digest(request.as_bytes()))
    );
    let first = format!("AWS4{}", keys.secret_access_key).into_bytes();
    let parts = [date, region, SERVICE, "aws4_request", &to_sign];
    let signed = parts
        .iter()
        .fold(first, |key, part| hmac(&key, part.as_bytes()));
    hex(&signed)
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // It takes keys of any length.
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(text);
            mac.finalize().into_bytes().to_vec()
        }
        Err(_) => vec![],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The keys in an answer of the token service, which is XML.
fn assumed(reply: &Reply, clock: i64) -> Result<Fresh> {
    let text = String::from_utf8_lossy(&reply.body);
    let part =
        |name: &str| element(&text, name).ok_or_else(|| reply.unreadable(&format!("`{name}`")));
    let keys = AwsKeys {
        access_key_id: part("AccessKeyId")?,
        secret_access_key: part("SecretAccessKey")?,
        session_token: Some(part("SessionToken")?),
    };
    Ok(Fresh {
        lifetime: reply.lifetime_until(&part("Expiration")?)?,
        token: Token::Keys(keys),
        clock,
    })
}

/// The text of the first element of this name, which has no attributes and no elements in it. None
/// where it is empty.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    let plain = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    (!text.is_empty() && !text.contains('<')).then_some(plain)
}

#[cfg(test)]
#[path = "codecommit_tests.rs"]
mod tests;
