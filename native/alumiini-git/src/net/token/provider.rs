//! Which provider is asked for a token.

use crate::error::Result;
use crate::net::token::azure;
use crate::net::token::codecommit;
use crate::net::token::endpoints::below;
use crate::net::token::fresh::Fresh;
use crate::net::token::github_app;
use crate::net::token::google;
use crate::net::token::request::{Asker, Way};
use crate::net::token::source::{AwsProof, CodeCommit, Google, TokenSource};

/// A new token. `clock`: how many seconds the provider's clock is ahead of ours, as far as is
/// known. Where a token depends on a region, the source has one.
pub(super) async fn fresh(
    asker: &Asker,
    way: &Way,
    source: &TokenSource,
    clock: i64,
) -> Result<Fresh> {
    match source {
        TokenSource::GithubApp(app) => github_app::token(asker, way, app, clock).await,
        TokenSource::Azure(azure) => azure::token(asker, way, azure).await,
        TokenSource::Google(google) => google::token(asker, way, google).await,
        TokenSource::CodeCommit(source) => {
            let region = source.region.as_deref().unwrap_or_default();
            codecommit::keys(asker, way, source, region, clock).await
        }
    }
}

/// Whom that asks first, as it may be shown; none where nobody is.
pub(super) fn asked(source: &TokenSource) -> Option<String> {
    let (given, default) = match source {
        TokenSource::GithubApp(app) => (&app.api_url, github_app::API.to_owned()),
        TokenSource::Azure(azure) => (&azure.endpoint, azure::AUTHORITY.to_owned()),
        TokenSource::Google(Google::Metadata { endpoint, .. }) => {
            (endpoint, google::METADATA.to_owned())
        }
        TokenSource::Google(Google::Federation { endpoint, .. }) => {
            (endpoint, google::STS.to_owned())
        }
        TokenSource::CodeCommit(CodeCommit {
            proof: AwsProof::Keys(_),
            ..
        }) => return None,
        TokenSource::CodeCommit(CodeCommit {
            region,
            proof: AwsProof::WebIdentity { endpoint, .. },
        }) => (
            endpoint,
            codecommit::token_service(region.as_deref().unwrap_or_default()),
        ),
    };
    let url = below(given.as_deref(), &default, "").ok()?;
    Some(url.redacted().trim_end_matches('/').to_owned())
}
