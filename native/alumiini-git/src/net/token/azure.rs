//! Tokens of Microsoft Entra ID for Azure DevOps: the client credentials grant of its endpoint v2.0
//! (learn.microsoft.com, "OAuth 2.0 client credentials flow").

use crate::error::Result;
use crate::net::secrets::Secrets;
use crate::net::token::endpoints::below;
use crate::net::token::fresh::{Fresh, Token};
use crate::net::token::json::AccessToken;
use crate::net::token::request::{Asker, Request, Way, encoded};
use crate::net::token::source::{Azure, AzureProof};
use crate::net::token::token_file;

pub(super) const AUTHORITY: &str = "https://login.microsoftonline.com";
/// All that Azure DevOps lets the client do. In all clouds it has this id.
const SCOPE: &str = "499b84ac-1321-427f-aa17-267ca6975798/.default";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A new token. Errors: those of [`Asker::ask`] and [`token_file::read`].
pub(super) async fn token(asker: &Asker, way: &Way, azure: &Azure) -> Result<Fresh> {
    let path = format!("/{}/oauth2/v2.0/token", encoded(&azure.tenant_id));
    let url = below(azure.endpoint.as_deref(), AUTHORITY, &path)?;
    let mut pairs = vec![
        ("grant_type", "client_credentials"),
        ("client_id", &azure.client_id),
        ("scope", SCOPE),
    ];
    let from_file;
    let proof = match &azure.proof {
        AzureProof::ClientSecret(secret) => {
            pairs.push(("client_secret", secret));
            secret
        }
        AzureProof::TokenFile(path) => {
            from_file = token_file::read(path).await?;
            pairs.push(("client_assertion_type", ASSERTION));
            pairs.push(("client_assertion", &from_file));
            &from_file
        }
    };
    let mut secrets = Secrets::default();
    secrets.add(proof);
    let reply = asker
        .ask(way, &Request::form(url, &pairs), &secrets)
        .await?;
    let made = AccessToken::of(&reply)?;
    Ok(Fresh {
        lifetime: made.lifetime(),
        token: Token::bearer(made.access_token),
        clock: 0,
    })
}
