//! Brokers reached by TLS and by WebSocket.

use std::path::PathBuf;

use tempfile::TempDir;
use watchpost::pollers::Reason;

use super::{Broker, NUMBERS, driven};
use crate::support::{file, free_port, shared, text, until_listening};

/// Certificates: an authority, a server's for 127.0.0.1 and a client's.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn make() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let folder = TempDir::new().expect("a temporary folder");
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        // Named apart from those it signs, which would look as if they had signed themselves.
        ca.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
        file(folder.path(), "ca.pem", &ca_certificate.pem());
        let issuer = Issuer::new(ca, ca_key);
        for name in ["127.0.0.1", "client"] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            file(folder.path(), &format!("{name}.pem"), &certificate.pem());
            file(folder.path(), &format!("{name}.key"), &key.serialize_pem());
        }
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("one's own folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[tokio::test]
async fn brokers_are_trusted_by_their_authority_and_ask_for_certificates() {
    let certificates = Certificates::make();
    let path = |name| text(&certificates.path(name));
    let settings = format!(
        "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        path("ca.pem"),
        path("127.0.0.1.pem"),
        path("127.0.0.1.key")
    );
    let Some(broker) = Broker::start_with(&settings).await else { return };
    let table = |keys: &str| broker.table(keys).replace("mqtt://", "mqtts://");
    let client =
        format!("client_cert = '{}'\nclient_key = '{}'\n", path("client.pem"), path("client.key"));
    let trusting = format!("ca = '{}'\n{client}", path("ca.pem"));
    driven(&table(&trusting), &shared()).poll().await.0.unwrap();
    driven(&table(&format!("tls_verify = false\n{client}")), &shared()).poll().await.0.unwrap();
    let (stranger, _) = driven(&table(&client), &shared()).poll().await;
    let error = stranger.unwrap_err();
    assert_eq!(error.reason, Reason::Auth, "{error}");
    let (nameless, _) =
        driven(&table(&format!("ca = '{}'", path("ca.pem"))), &shared()).poll().await;
    let error = nameless.unwrap_err();
    assert_eq!(error.reason, Reason::Auth, "{error}");
}

#[tokio::test]
async fn brokers_are_reached_by_websocket() {
    // mosquitto 2.0 does not start with a websocket listener alone.
    let port = free_port();
    let settings =
        format!("allow_anonymous true\nlistener {port} 127.0.0.1\nprotocol websockets\n");
    let Some(broker) = Broker::start_with(&settings).await else { return };
    until_listening(port).await;
    let table = broker
        .table(NUMBERS)
        .replace(&format!("mqtt://127.0.0.1:{}", broker.port), &format!("ws://127.0.0.1:{port}"));
    let mut driven = driven(&table, &shared());
    driven.poll().await.0.unwrap();
    broker.publish("n/a", "5", &[]);
    assert_eq!(driven.readings().await, ["mqtt_value{} 5"]);
}

#[tokio::test]
async fn brokers_are_reached_by_websocket_over_tls() {
    let certificates = Certificates::make();
    let path = |name| text(&certificates.path(name));
    let port = free_port();
    let settings = format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\nprotocol websockets\n\
         certfile {}\nkeyfile {}\n",
        path("127.0.0.1.pem"),
        path("127.0.0.1.key")
    );
    let Some(broker) = Broker::start_with(&settings).await else { return };
    until_listening(port).await;
    let plain = format!("mqtt://127.0.0.1:{}", broker.port);
    let table = |keys: &str, scheme: &str| {
        let url = format!("{scheme}://127.0.0.1:{port}/mqtt");
        broker.table(&format!("{keys}{NUMBERS}")).replace(&plain, &url)
    };
    let trusting = format!("ca = '{}'\n", path("ca.pem"));
    let mut client = driven(&table(&trusting, "wss"), &shared());
    client.poll().await.0.unwrap();
    broker.publish("n/a", "5", &[]);
    assert_eq!(client.readings().await, ["mqtt_value{} 5"]);
    drop(client);
    driven(&table("tls_verify = false\n", "wss"), &shared()).poll().await.0.unwrap();
    let error = driven(&table("", "wss"), &shared()).poll().await.0.unwrap_err();
    assert_eq!(error.reason, Reason::Auth, "{error}");
    // Without TLS it understands nothing, and does not answer as a WebSocket.
    let error = driven(&table("", "ws"), &shared()).poll().await.0.unwrap_err();
    assert_ne!(error.reason, Reason::Auth, "{error}");
}
