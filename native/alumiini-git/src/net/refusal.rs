//! The sentences with which servers refuse: in `ERR` lines, on side-band 3, on SSH's standard
//! error, in bodies of HTTP errors. The protocols have no codes for refusals, so the sentences have
//! to do. One table serves all of these, since the same sentences occur in each.

use crate::error::Kind;

/// Earlier rows take precedence: a server that is asked too often may also say "not allowed", and
/// one that hides a repository "not found or you don't have permission".
const TABLE: &[(Kind, &[&str])] = &[
    (
        Kind::Unsupported,
        &[
            "command not found",
            "unknown command",
            "is not a git command",
        ],
    ),
    (
        Kind::RateLimited,
        &[
            "rate limit",
            "ratelimit",
            "too many requests",
            "retry later",
            "abuse detection",
            "exceeding usage",
            "tf400733",
            "whoa there",
        ],
    ),
    (
        Kind::Network,
        &[
            "overloaded",
            "temporarily",
            "try again",
            "please retry",
            "please wait",
            "server is busy",
            "server busy",
            "too busy",
            "maintenance",
            "too many connections",
            "service unavailable",
            "timed out",
            "internal server error",
            "internal error",
        ],
    ),
    (
        Kind::RepoNotFound,
        &[
            "does not appear to be a git repository",
            "not a git repository",
            "not found",
            "could not be found",
            "does not exist",
            "cannot find repository",
            "no such repository",
            "no such project",
            "repository not exported",
            "not in expected format",
            "not a valid repository name",
            "invalid repository",
            "invalid project path",
        ],
    ),
    (
        Kind::Auth,
        &[
            "permission denied",
            "access denied",
            "unauthorized",
            "not authorized",
            "not allowed",
            "not permitted",
            "forbidden",
            "access rights",
            "dubious ownership",
            "saml",
            "single sign-on",
            "deploy key",
            "do not have permission",
            "don't have permission",
            "insufficient",
            "allow list",
            "allowlist",
            "whitelist",
            "suspended",
            "disabled",
            "deactivated",
            "has been blocked",
            "expired",
            "revoked",
            "authentication failed",
            "authentication required",
            "two-factor",
        ],
    ),
];

/// The kind of the refusal that `said` is. `None` if no row matches.
pub(super) fn kind(said: &str) -> Option<Kind> {
    // The git command prints this after any failure, and some servers repeat it.
    let said = said
        .to_lowercase()
        .replace("make sure you have the correct access rights", "");
    let says = |phrase: &&str| said.contains(*phrase);
    if says(&"permission to") && says(&"denied") {
        return Some(Kind::Auth);
    }
    // The caller can do nothing about these, and waiting does not help.
    if says(&"corruption on the remote side") || says(&"missing object") {
        return Some(Kind::Protocol);
    }
    let found = TABLE.iter().find(|(_, phrases)| phrases.iter().any(says));
    found.map(|(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forges_are_understood() {
        use Kind as K;
        for (said, expected) in [
            // GitHub
            ("ERROR: Repository not found.", Some(K::RepoNotFound)),
            (
                "ERROR: Permission to a/b.git denied to deploy key",
                Some(K::Auth),
            ),
            (
                "ERROR: The 'acme' organization has enabled or enforced SAML SSO. To access this \
                 repository, you must re-authorize",
                Some(K::Auth),
            ),
            (
                "ERROR: The 'acme' organization has an IP allow list enabled, and 192.0.2.1 is \
                 not permitted to access this repository.",
                Some(K::Auth),
            ),
            (
                "You have exceeded a secondary rate limit. Please wait a few minutes before you \
                 try again.",
                Some(K::RateLimited),
            ),
            (
                "API rate limit exceeded for user ID 1.",
                Some(K::RateLimited),
            ),
            (
                "fatal: remote error: a//b is not a valid repository name",
                Some(K::RepoNotFound),
            ),
            (
                "ERROR: Your account is suspended. Please check with your installation \
                 administrator.",
                Some(K::Auth),
            ),
            // GitLab
            (
                "ERROR: The project you were looking for could not be found or you don't have \
                 permission to view it.",
                Some(K::RepoNotFound),
            ),
            (
                "GitLab: You are not allowed to download code from this project.",
                Some(K::Auth),
            ),
            (
                "ERROR: Deploy keys are not allowed to access this project",
                Some(K::Auth),
            ),
            ("Retry later", Some(K::RateLimited)),
            ("GitLab is not responding, internal error", Some(K::Network)),
            (
                "The git server, Gitaly, is not available at this time. Please try again later.",
                Some(K::Network),
            ),
            (
                "fatal: project path is not in expected format",
                Some(K::RepoNotFound),
            ),
            // Bitbucket
            (
                "Rate limit for this resource has been exceeded",
                Some(K::RateLimited),
            ),
            ("conq: repository access denied.", Some(K::Auth)),
            (
                "Repository not found\nThe requested repository does not exist, or you do not \
                 have permission to access it.",
                Some(K::RepoNotFound),
            ),
            // Gitea, Forgejo, Gogs
            (
                "Forgejo: Cannot find repository: a/b",
                Some(K::RepoNotFound),
            ),
            ("Gitea: Unauthorized", Some(K::Auth)),
            ("Gitea: User permission denied", Some(K::Auth)),
            ("Gogs: Repository does not exist", Some(K::RepoNotFound)),
            // Azure DevOps
            (
                "TF401019: The Git repository with name or identifier x does not exist or you do \
                 not have permissions",
                Some(K::RepoNotFound),
            ),
            (
                "TF400733: The request has been canceled: Request was blocked due to exceeding \
                 usage of resource 'Concurrency'",
                Some(K::RateLimited),
            ),
            // AWS CodeCommit, Gerrit, git itself
            (
                "Access denied: project: not found or not visible",
                Some(K::RepoNotFound),
            ),
            (
                "fatal: '/r' does not appear to be a git repository",
                Some(K::RepoNotFound),
            ),
            (
                "access denied or repository not exported: /r",
                Some(K::RepoNotFound),
            ),
            (
                "fatal: detected dubious ownership in repository at '/r'",
                Some(K::Auth),
            ),
            (
                "aborting due to possible repository corruption on the remote side.",
                Some(K::Protocol),
            ),
            ("Server is overloaded, please come back", Some(K::Network)),
            ("server busy, please wait", Some(K::Network)),
            ("The server is too busy", Some(K::Network)),
            ("The server is in maintenance mode", Some(K::Network)),
            (
                "bash: git-upload-pack: command not found",
                Some(K::Unsupported),
            ),
            (
                "Please make sure you have the correct access rights\nand the repository exists.",
                None,
            ),
            ("out of memory", None),
            ("", None),
        ] {
            assert_eq!(kind(said), expected, "{said}");
        }
    }
}
