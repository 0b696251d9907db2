//! How to get at an agent: address, version and credentials, and how patient to be with it.
//!
//! Everything that would make the protocol's crate panic or fail later is refused here.

use std::time::Duration;

use crate::config::read::Table;
use crate::config::{HostPort, Secret};
use crate::{choice, config};

choice! {
    /// The version of the protocol.
    pub enum Version { V1 = "1", V2c = "2c", V3 = "3" }
}

choice! {
    /// How messages are authenticated (RFC 3414, RFC 7860).
    pub enum Authentication {
        None = "none", Md5 = "md5", Sha1 = "sha1", Sha224 = "sha224", Sha256 = "sha256",
        Sha384 = "sha384", Sha512 = "sha512",
    }
}

choice! {
    /// How messages are encrypted (RFC 3414, RFC 3826).
    pub enum Privacy {
        None = "none", Des = "des", Aes128 = "aes128", Aes192 = "aes192", Aes256 = "aes256",
    }
}

choice! {
    /// How a key is made longer where the digest is shorter than AES-192 or AES-256 needs: as
    /// net-snmp and most do, or as Cisco does.
    pub enum KeyExtension { Blumenthal = "blumenthal", Reeder = "reeder" }
}

config! {
    /// How to get at an SNMP agent.
    pub struct Access {
        /// The agent: a host, or `host:port`; the port is 161 where none is written.
        pub host: HostPort,
        /// The version of the protocol: `1`, `2c` or `3`.
        pub version: Version = Version::V2c,
        /// The community, for versions 1 and 2c.
        pub community: Option<Secret>,
        /// The user, for version 3.
        pub user: Option<String>,
        /// How messages are authenticated, for version 3.
        pub auth: Authentication = Authentication::None,
        /// The password for `auth`, of at least 8 characters.
        pub auth_password: Option<Secret>,
        /// How messages are encrypted, for version 3; needs `auth`.
        pub privacy: Privacy = Privacy::None,
        /// The password for `privacy`, of at least 8 characters.
        pub privacy_password: Option<Secret>,
        /// How keys are made longer for AES-192 and AES-256: `blumenthal`, or `reeder` for Cisco.
        pub key_extension: KeyExtension = KeyExtension::Blumenthal,
        /// The context to read, for version 3.
        pub context: Option<String>,
        /// How long to wait for the answer to one request.
        pub request_timeout: Duration = Duration::from_secs(1),
        /// How often an unanswered request is sent again.
        pub retries: u32 = 3,
        /// The most rows asked for at once. Fewer are asked for while answers get lost or are too
        /// large for the agent.
        pub max_repetitions: u32 = 25,
    }
    check(access, table) {
        match access.version {
            Version::V1 | Version::V2c => check_community(access, table),
            Version::V3 => check_user(access, table),
        }
        if access.retries > RETRIES_MAX {
            table.error("retries", format!("must be at most {RETRIES_MAX}"));
        }
        if access.max_repetitions == 0 || access.max_repetitions > MAX_REPETITIONS_MAX {
            let message = format!("must be from 1 to {MAX_REPETITIONS_MAX}");
            table.error("max_repetitions", message);
        }
    }
}

/// An agent that has not answered by then will not.
const RETRIES_MAX: u32 = 10;

/// More rows than this do not fit into a datagram.
const MAX_REPETITIONS_MAX: u32 = 1_000;

/// RFC 3414 section 11.2.
const PASSWORD_CHARS_MIN: usize = 8;

/// RFC 3411 section 5: SnmpAdminString, of which user and context names have 32 octets.
const NAME_BYTES_MAX: usize = 32;

impl Access {
    /// The port, the agent's own where none is written (RFC 3417 section 3.1).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.host.port.unwrap_or(161)
    }

    /// The agent as messages name it.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} port {}", self.host.host, self.port())
    }
}

fn check_community(access: &Access, table: &mut Table<'_, '_, '_>) {
    let version = access.version.as_str();
    match &access.community {
        None => table.error("version", format!("version {version} needs the key `community`")),
        Some(community) if community.reveal().is_empty() => {
            table.error("community", "the community is empty");
        }
        Some(_) => {}
    }
    for key in
        ["user", "auth", "auth_password", "privacy", "privacy_password", "key_extension", "context"]
    {
        if table.has(key) {
            let message = format!("`{key}` is for version 3; this is version {version}");
            table.error(key, message);
        }
    }
}

fn check_user(access: &Access, table: &mut Table<'_, '_, '_>) {
    if access.community.is_some() {
        table.error("community", "version 3 has no community; it has a `user`");
    }
    match &access.user {
        None => table.error("version", "version 3 needs the key `user`"),
        Some(user) if user.is_empty() => table.error("user", "the user is empty"),
        Some(_) => {}
    }
    for (key, name) in [("user", &access.user), ("context", &access.context)] {
        if name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
            table.error(key, format!("must be at most {NAME_BYTES_MAX} bytes long"));
        }
    }
    let (auth, privacy) = (access.auth, access.privacy);
    check_password(
        ("auth", auth.as_str(), auth != Authentication::None),
        ("auth_password", access.auth_password.as_ref()),
        table,
    );
    check_password(
        ("privacy", privacy.as_str(), privacy != Privacy::None),
        ("privacy_password", access.privacy_password.as_ref()),
        table,
    );
    if privacy != Privacy::None && auth == Authentication::None {
        table.error("privacy", "encryption needs authentication: set `auth` too (RFC 3414)");
    }
}

fn check_password(
    (key, word, used): (&str, &str, bool),
    (password_key, password): (&str, Option<&Secret>),
    table: &mut Table<'_, '_, '_>,
) {
    match password {
        None if used => {
            table.error(key, format!("{key} = \"{word}\" needs the key `{password_key}`"));
        }
        Some(_) if !used => {
            table.error(password_key, format!("without `{key}` this password is for nothing"));
        }
        Some(password) if password.reveal().chars().count() < PASSWORD_CHARS_MIN => {
            let message =
                format!("must have at least {PASSWORD_CHARS_MIN} characters (RFC 3414)");
            table.error(password_key, message);
        }
        _ => {}
    }
}
