//! Where a token comes from, as a request says it. Values only: what is asked of whom is in the
//! provider's own file.

use std::fmt;
use std::path::PathBuf;

use crate::net::secrets::Secrets;

/// What proves who we are to a provider that makes tokens. `Eq` and `Hash`: it stands for all of
/// its tokens in keys to share by. `Debug` shows only the kind.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum TokenSource {
    GithubApp(GithubApp),
    Azure(Azure),
    CodeCommit(CodeCommit),
    Google(Google),
}

/// An app that is installed for an account of GitHub.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct GithubApp {
    /// Its id, or its client id.
    pub(crate) app_id: String,
    /// RSA, in PEM.
    pub(crate) private_key: String,
    pub(crate) installation: Installation,
    /// Where the API is. `None`: that of github.com.
    pub(crate) api_url: Option<String>,
}

/// Which of the installations of an app is meant.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Installation {
    Id(u64),
    /// That of an organisation or a user.
    Owner(String),
}

/// An application of Microsoft Entra ID.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Azure {
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) proof: AzureProof,
    /// `None`: that of the public cloud.
    pub(crate) endpoint: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum AzureProof {
    ClientSecret(String),
    /// Workload identity: a file with a token of the cluster, which changes.
    TokenFile(PathBuf),
}

/// A user or a role of AWS that may read repositories of CodeCommit.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct CodeCommit {
    /// `None`: the one in the host's name.
    pub(crate) region: Option<String>,
    pub(crate) proof: AwsProof,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum AwsProof {
    Keys(AwsKeys),
    /// A role that the token of the cluster in a file may take.
    WebIdentity {
        role_arn: String,
        session_name: String,
        token_file: PathBuf,
        /// Of the token service. `None`: that of the region.
        endpoint: Option<String>,
    },
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct AwsKeys {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    /// Of keys that end.
    pub(crate) session_token: Option<String>,
}

/// A service account of Google Cloud.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Google {
    /// That of the machine or pod that this process runs on.
    Metadata {
        /// Its e-mail. `None`: the default one.
        service_account: Option<String>,
        /// `None`: the metadata server where Google has it.
        endpoint: Option<String>,
    },
    /// Workload identity federation: a token of somebody else's, in a file, for one of Google's.
    Federation {
        audience: String,
        token_file: PathBuf,
        /// To act as, by its e-mail.
        service_account: Option<String>,
        endpoint: Option<String>,
        /// Of the service that lets one act as the account.
        impersonation_endpoint: Option<String>,
    },
}

impl TokenSource {
    /// The URLs that a request gives for endpoints, each with its field.
    pub(super) fn given_endpoints(&self) -> Vec<(&'static str, &str)> {
        let given = match self {
            TokenSource::GithubApp(app) => vec![("api_url", &app.api_url)],
            TokenSource::Azure(azure) => vec![("endpoint", &azure.endpoint)],
            TokenSource::CodeCommit(CodeCommit { proof, .. }) => match proof {
                AwsProof::Keys(_) => vec![],
                AwsProof::WebIdentity { endpoint, .. } => vec![("endpoint", endpoint)],
            },
            TokenSource::Google(Google::Metadata { endpoint, .. }) => {
                vec![("endpoint", endpoint)]
            }
            TokenSource::Google(Google::Federation {
                endpoint,
                impersonation_endpoint,
                ..
            }) => vec![
                ("endpoint", endpoint),
                ("impersonation_endpoint", impersonation_endpoint),
            ],
        };
        given
            .into_iter()
            .filter_map(|(field, url)| url.as_deref().map(|url| (field, url)))
            .collect()
    }

    /// Who a token is for, in errors.
    pub(super) fn shown(&self) -> String {
        match self {
            TokenSource::GithubApp(app) => {
                let whose = match &app.installation {
                    Installation::Id(id) => format!("its installation {id}"),
                    Installation::Owner(owner) => format!("its installation for {owner}"),
                };
                format!("GitHub App {} and {whose}", app.app_id)
            }
            TokenSource::Azure(azure) => {
                format!(
                    "Azure client {} of tenant {}",
                    azure.client_id, azure.tenant_id
                )
            }
            TokenSource::CodeCommit(CodeCommit { proof, .. }) => match proof {
                AwsProof::Keys(keys) => format!("AWS access key {}", keys.access_key_id),
                AwsProof::WebIdentity { role_arn, .. } => format!("AWS role {role_arn}"),
            },
            TokenSource::Google(
                Google::Metadata {
                    service_account, ..
                }
                | Google::Federation {
                    service_account, ..
                },
            ) => match service_account {
                Some(account) => format!("Google service account {account}"),
                None => "the Google service account".to_owned(),
            },
        }
    }

    /// Adds what no answer may repeat. Not an app's private key: it is sent to nobody.
    pub(crate) fn add_secrets(&self, secrets: &mut Secrets) {
        match self {
            TokenSource::Azure(Azure {
                proof: AzureProof::ClientSecret(secret),
                ..
            }) => secrets.add(secret),
            TokenSource::CodeCommit(CodeCommit {
                proof: AwsProof::Keys(keys),
                ..
            }) => keys.add_secrets(secrets),
            TokenSource::GithubApp(_)
            | TokenSource::Azure(_)
            | TokenSource::CodeCommit(_)
            | TokenSource::Google(_) => {}
        }
    }
}

impl AwsKeys {
    pub(super) fn add_secrets(&self, secrets: &mut Secrets) {
        secrets.add(&self.secret_access_key);
        if let Some(token) = &self.session_token {
            secrets.add(token);
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenSource::GithubApp(_) => "TokenSource::GithubApp(redacted)",
            TokenSource::Azure(_) => "TokenSource::Azure(redacted)",
            TokenSource::CodeCommit(_) => "TokenSource::CodeCommit(redacted)",
            TokenSource::Google(_) => "TokenSource::Google(redacted)",
        })
    }
}
