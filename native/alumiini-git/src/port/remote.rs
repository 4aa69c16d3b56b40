//! The fields of a request that say which remote, and how to get in.

use crate::error::{Error, Kind, Result};
use crate::net::auth::{Auth, SshCredential, SshLogin};
use crate::net::tls::Tls;
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
        "ssh_key" => SshCredential::Key {
            private_key: auth.text("private_key")?,
            passphrase: auth.text_if("passphrase")?,
        },
        "ssh_agent" => SshCredential::Agent {
            socket: Some(auth.path_or_empty("socket")?)
                .filter(|socket| !socket.as_os_str().is_empty()),
        },
        _ => {
            let message = "`auth` is of type basic, bearer, ssh_key or ssh_agent";
            return Err(Error::new(Kind::Unsupported, message));
        }
    };
    Ok(Auth::Ssh(SshLogin {
        username: auth.text_if("username")?,
        proof,
        known_hosts: auth.text_if("known_hosts")?,
    }))
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
