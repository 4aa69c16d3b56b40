//! A real sshd on loopback, with a relay before it that counts connections and cuts them.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use russh::keys::{PrivateKey, decode_secret_key};
use tempfile::TempDir;

use super::relay::Relay;

/// Throwaway keys; see `net/ssh/golden/keys`.
pub(super) const ED25519: &str = include_str!("../ssh/golden/keys/ed25519");
pub(super) const ED25519_ENCRYPTED: &str = include_str!("../ssh/golden/keys/ed25519-enc");
pub(super) const ED25519_PKCS8: &str = include_str!("../ssh/golden/keys/ed25519-pkcs8");
pub(super) const ECDSA: &str = include_str!("../ssh/golden/keys/ecdsa");
pub(super) const ECDSA384: &str = include_str!("../ssh/golden/keys/ecdsa384");
pub(super) const ECDSA521: &str = include_str!("../ssh/golden/keys/ecdsa521");
pub(super) const RSA: &str = include_str!("../ssh/golden/keys/rsa");
pub(super) const RSA_PKCS1: &str = include_str!("../ssh/golden/keys/rsa-pkcs1");
pub(super) const RSA_PKCS1_ENCRYPTED: &str = include_str!("../ssh/golden/keys/rsa-pkcs1-enc");

/// What the server shows, unless told otherwise.
pub(super) const HOST_KEYS: [(&str, &str); 2] = [("host_ecdsa", ECDSA521), ("host_rsa", RSA)];

/// What logs in.
pub(super) const USER_KEY: &str = ED25519;

pub(super) fn key(text: &str) -> PrivateKey {
    decode_secret_key(
        text,
        Some("sesame").filter(|_| text.contains("ENCRYPTED") || text == ED25519_ENCRYPTED),
    )
    .unwrap()
}

/// `ssh-ed25519 AAAA…`
pub(super) fn public(text: &str) -> String {
    let mut key = key(text).public_key().clone();
    key.set_comment("");
    key.to_openssh().unwrap().trim().to_owned()
}

pub(super) struct Sshd {
    pub(super) dir: TempDir,
    child: Child,
    pub(super) relay: Relay,
}

impl Sshd {
    /// With protocol v2, and one key that may log in.
    pub(super) fn start() -> Sshd {
        Sshd::with("AcceptEnv GIT_PROTOCOL\n", &public(USER_KEY))
    }

    /// `config`: lines of sshd_config(5). `authorized`: lines of authorized_keys.
    pub(super) fn with(config: &str, authorized: &str) -> Sshd {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut lines = format!(
            "ListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\nLogLevel \
             VERBOSE\nMaxStartups 100\nPermitRootLogin prohibit-password\nPasswordAuthentication \
             no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {}\n{config}",
            at("authorized_keys").display()
        );
        // Else bash would read this machine's .bashrc before each command, and git its
        // configuration.
        lines += &format!("SetEnv HOME={}\n", dir.path().display());
        for (name, text) in HOST_KEYS {
            private_file(&at(name), text);
            lines += &format!("HostKey {}\n", at(name).display());
        }
        std::fs::write(at("authorized_keys"), format!("{authorized}\n")).unwrap();
        std::fs::write(
            at("sshd_config"),
            lines.replace("{dir}", &dir.path().display().to_string()),
        )
        .unwrap();
        // Where the system starts none, nobody makes this for it.
        let _ = std::fs::create_dir_all("/run/sshd");
        // Nothing else holds a port that was free a moment ago, or nearly so.
        let (mut child, port) = (0..20)
            .find_map(|_| spawn(&at("sshd_config")))
            .expect("sshd starts");
        let stderr = child.stderr.take().unwrap();
        // So that it never waits for a reader.
        std::thread::spawn(move || {
            std::io::copy(&mut BufReader::new(stderr), &mut std::io::sink())
        });
        Sshd {
            dir,
            child,
            relay: Relay::start(port, Duration::ZERO),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.relay.port
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn known_hosts(&self) -> String {
        HOST_KEYS
            .iter()
            .map(|(_, text)| format!("[127.0.0.1]:{} {}\n", self.port(), public(text)))
            .collect()
    }

    pub(super) fn url(&self, path: &Path) -> String {
        format!(
            "ssh://{}@127.0.0.1:{}{}",
            user(),
            self.port(),
            path.display()
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.relay.cut();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(config: &Path) -> Option<(Child, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-p", &port.to_string(), "-f"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need an SSH server at /usr/sbin/sshd: apt-get install openssh-server");
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while stderr.read_line(&mut line).unwrap() > 0 {
        if line.contains("Server listening") {
            child.stderr = Some(stderr.into_inner());
            return Some((child, port));
        }
        eprint!("sshd: {line}");
        line.clear();
    }
    child.wait().unwrap();
    None
}

pub(super) fn private_file(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// Who runs the tests: the one user that an sshd of theirs can let in.
pub(super) fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// An ssh-agent with `keys`.
pub(super) struct Agent {
    child: Child,
    pub(super) dir: TempDir,
}

impl Agent {
    pub(super) fn start(keys: &[&str]) -> Agent {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let mut child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need ssh-agent: apt-get install openssh-client");
        // It says where it is when it is there.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        for (n, text) in keys.iter().enumerate() {
            let file = dir.path().join(format!("key{n}"));
            private_file(&file, text);
            let added = Command::new("ssh-add")
                .arg("-q")
                .arg(&file)
                .env("SSH_AUTH_SOCK", &socket)
                .status();
            assert!(added.unwrap().success());
        }
        Agent { child, dir }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("agent")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
