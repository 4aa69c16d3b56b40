//! The fields of a request that say which remote, and how to get in.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::net::auth::{Auth, SshCredential, SshLogin};
use crate::net::tls::Tls;
use crate::net::token::source::{
    AwsKeys, AwsProof, Azure, AzureProof, CodeCommit, GithubApp, Google, Installation, TokenSource,
};
use crate::port::fields::Fields;
use crate::spec::RemoteSpec;

/// Decodes the remote of a request. `invalid` where a field is missing or of the wrong type,
/// `unsupported` where the credentials are of an unknown type.
pub(crate) fn spec(fields: &mut Fields) -> Result<RemoteSpec> {
    Ok(RemoteSpec {
        url: fields.bytes("url")?,
        auth: fields
            .map("auth")?
            .map(|auth| credentials(&mut Fields::new(auth)))
            .transpose()?,
        allow_insecure: fields.flag("allow_insecure")?,
        tls: tls(fields)?,
        proxy: fields.text_if("proxy")?,
        no_proxy: fields.text_if("no_proxy")?,
    })
}

fn credentials(auth: &mut Fields) -> Result<Auth> {
    let proof = match auth.text("type")?.as_str() {
        "basic" => {
            return Ok(Auth::Basic {
                username: auth.text("username")?,
                password: auth.text("password")?,
            });
        }
        "bearer" => {
            return Ok(Auth::Bearer {
                token: auth.text("token")?,
            });
        }
        "github_app" => return Ok(token(TokenSource::GithubApp(github_app(auth)?))),
        "azure" => return Ok(token(TokenSource::Azure(azure(auth)?))),
        "codecommit" => return Ok(token(TokenSource::CodeCommit(codecommit(auth)?))),
        "google" => return Ok(token(TokenSource::Google(google(auth)?))),
        "ssh_key" => SshCredential::Key {
            private_key: auth.text("private_key")?,
            passphrase: auth.text_if("passphrase")?,
        },
        "ssh_agent" => SshCredential::Agent {
            socket: Some(auth.path_or_empty("socket")?)
                .filter(|socket| !socket.as_os_str().is_empty()),
        },
        _ => {
            let message = "`auth` is of type basic, bearer, github_app, azure, codecommit, \
                           google, ssh_key or ssh_agent";
            return Err(Error::new(Kind::Unsupported, message));
        }
    };
    Ok(Auth::Ssh(SshLogin {
        username: auth.text_if("username")?,
        proof,
        known_hosts: auth.text_if("known_hosts")?,
    }))
}

fn token(source: TokenSource) -> Auth {
    Auth::Token(Arc::new(source))
}

fn github_app(auth: &mut Fields) -> Result<GithubApp> {
    let installation = match (auth.id("installation_id")?, auth.text_if("owner")?) {
        (Some(id), None) => Installation::Id(id),
        (None, Some(owner)) => Installation::Owner(owner),
        _ => return Err(one_of("installation_id", "owner")),
    };
    Ok(GithubApp {
        app_id: auth.text("app_id")?,
        private_key: auth.text("private_key")?,
        installation,
        api_url: auth.text_if("api_url")?,
    })
}

fn azure(auth: &mut Fields) -> Result<Azure> {
    let proof = match (auth.text_if("client_secret")?, auth.path_if("token_file")?) {
        (Some(secret), None) => AzureProof::ClientSecret(secret),
        (None, Some(file)) => AzureProof::TokenFile(file),
        _ => return Err(one_of("client_secret", "token_file")),
    };
    Ok(Azure {
        tenant_id: auth.text("tenant_id")?,
        client_id: auth.text("client_id")?,
        proof,
        endpoint: auth.text_if("endpoint")?,
    })
}

fn codecommit(auth: &mut Fields) -> Result<CodeCommit> {
    let region = auth.text_if("region")?;
    let proof = match (auth.text_if("access_key_id")?, auth.text_if("role_arn")?) {
        (Some(access_key_id), None) => AwsProof::Keys(AwsKeys {
            access_key_id,
            secret_access_key: auth.text("secret_access_key")?,
            session_token: auth.text_if("session_token")?,
        }),
        (None, Some(role_arn)) => AwsProof::WebIdentity {
            role_arn,
            session_name: auth.text("session_name")?,
            token_file: auth.path("token_file")?,
            endpoint: auth.text_if("endpoint")?,
        },
        _ => return Err(one_of("access_key_id", "role_arn")),
    };
    Ok(CodeCommit { region, proof })
}

fn google(auth: &mut Fields) -> Result<Google> {
    let (service_account, endpoint) = (auth.text_if("service_account")?, auth.text_if("endpoint")?);
    Ok(match auth.text_if("audience")? {
        None => Google::Metadata {
            service_account,
            endpoint,
        },
        Some(audience) => Google::Federation {
            audience,
            token_file: auth.path("token_file")?,
            service_account,
            endpoint,
            impersonation_endpoint: auth.text_if("impersonation_endpoint")?,
        },
    })
}

fn one_of(first: &str, second: &str) -> Error {
    Error::invalid(format!("`auth` has either `{first}` or `{second}`"))
}

fn tls(fields: &mut Fields) -> Result<Tls> {
    let mut tls = Fields::new(fields.map("tls")?.unwrap_or_default());
    let client = match (tls.text_if("cert")?, tls.text_if("key")?) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert, key)),
        _ => return Err(Error::invalid("`tls` has `cert` and `key` both or neither")),
    };
    Ok(Tls {
        ca: tls.text_if("ca")?,
        client,
    })
}
