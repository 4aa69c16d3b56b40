//! The URLs that a request gives for the endpoints of a provider.

use crate::error::{Error, Kind, Result};
use crate::net::token::source::TokenSource;
use crate::net::url::HttpUrl;

/// `invalid` where one is no URL of `https`, or is of `http`, by which secrets would travel
/// readable by anyone on the way, without `allow_insecure`.
pub(in crate::net) fn check(source: &TokenSource, allow_insecure: bool) -> Result<()> {
    for (field, text) in source.given_endpoints() {
        let url = parse(field, text)?;
        if url.is_plaintext() && !allow_insecure {
            let message = format!(
                "`{field}` of `auth` is {url}, by which credentials would travel unencrypted: use \
                 https://, or allow_insecure: true to send them all the same"
            );
            return Err(Error::new(Kind::Invalid, message));
        }
    }
    Ok(())
}

fn parse(field: &str, text: &str) -> Result<HttpUrl> {
    let invalid = |why: &str| Error::invalid(format!("`{field}` of `auth` {why}"));
    if !(text.starts_with("https://") || text.starts_with("http://")) {
        return Err(invalid("is no URL that begins with https://"));
    }
    let url = HttpUrl::parse(text.as_bytes())
        .map_err(|error| invalid(&format!("cannot be used: {error}")))?;
    if url.auth().is_some() || text.contains('?') {
        return Err(invalid(
            "holds a user name, a password or a query: leave these out",
        ));
    }
    Ok(url)
}

/// `path` below the URL that was given, or else below `default`.
pub(super) fn below(given: Option<&str>, default: &str, path: &str) -> Result<HttpUrl> {
    let base = given.unwrap_or(default).trim_end_matches('/');
    HttpUrl::parse(format!("{base}{path}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::token::source::{Azure, AzureProof};

    fn azure(endpoint: &str) -> TokenSource {
        TokenSource::Azure(Azure {
            tenant_id: "t".into(),
            client_id: "c".into(),
            proof: AzureProof::ClientSecret("s3cret-of-the-client".into()),
            endpoint: Some(endpoint.into()),
        })
    }

    #[test]
    fn endpoints_are_urls_and_encrypted() {
        assert!(check(&azure("https://login.example.com"), false).is_ok());
        assert!(check(&azure("http://127.0.0.1:1"), true).is_ok());
        for (url, says) in [
            ("http://127.0.0.1:1", "allow_insecure"),
            ("login.example.com", "https://"),
            ("ftp://login.example.com", "https://"),
            ("https://", "no host"),
            ("https://me:pass@login.example.com", "leave these out"),
            ("https://login.example.com/?a=b", "leave these out"),
        ] {
            let error = check(&azure(url), false).unwrap_err();
            assert_eq!(error.kind, Kind::Invalid);
            assert!(error.message.contains(says), "{error}");
            assert!(!error.message.contains("pass@"), "{error}");
        }
    }

    #[test]
    fn paths_go_below_what_was_given() {
        let url = |given| below(given, "https://default", "/a/b").unwrap().to_string();
        assert_eq!(url(None), "https://default/a/b");
        assert_eq!(url(Some("https://h/api/v3")), "https://h/api/v3/a/b");
        assert_eq!(url(Some("https://h/")), "https://h/a/b");
    }
}
