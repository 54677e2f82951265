//! The real binary trusts the roots that the environment names, and no other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ivs_attendance_local::lambda::stack::Stack;
use ivs_attendance_local::scene::{SESSION_ID as SESSION, STAGE_ARN as STAGE, ended, request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::harness::{BOOTSTRAP, FOLDER};

fn root() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// Serves what lies at `http`, an address like `http://127.0.0.1:1`, as `https://localhost` with a certificate by `root`.
async fn https(http: &str, root: &CertifiedIssuer<'static, KeyPair>) -> String {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, root).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    // Named, since the features of all crates together leave no default.
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into());
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = http.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust us hangs up.
            if let Ok(mut near) = acceptor.accept(stream).await {
                let mut far = TcpStream::connect(&address).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
            }
        }
    });
    format!("https://localhost:{port}")
}

/// What becomes of a session when the server's root is the one that `variable` names, or another one.
async fn export(variable: &str, trusted: bool) -> (Stack, Result<String, String>, TempDir) {
    let folder = tempfile::tempdir_in(FOLDER).unwrap();
    let (named, other) = (root(), root());
    let file = folder.path().join("root.pem");
    fs::write(&file, named.pem()).unwrap();
    let ivs = ivs_attendance_local::ivs::Ivs::start(ivs_attendance_local::REGION)
        .await
        .unwrap();
    ivs.world().put(STAGE, SESSION, ended(3, 61));
    let url = https(ivs.url(), if trusted { &named } else { &other }).await;
    let settings = [
        ("AWS_ENDPOINT_URL_IVS_REALTIME", url.as_str()),
        (variable, file.to_str().unwrap()),
    ];
    let mut stack = Stack::start(Path::new(BOOTSTRAP), folder.path(), &settings)
        .await
        .unwrap();
    // It would try for a minute.
    let seconds = Duration::from_secs(if trusted { 30 } else { 2 });
    let answer = stack
        .function
        .invoke(request(STAGE, SESSION), seconds)
        .await;
    stack.ivs = ivs;
    let answer = answer.map(|report| report["outcome"].as_str().unwrap().to_owned());
    (stack, answer.map_err(|failure| failure.error_type), folder)
}

#[tokio::test]
async fn a_root_that_the_environment_names_is_trusted() {
    for variable in ["SSL_CERT_FILE", "AWS_CA_BUNDLE"] {
        let (stack, answer, _folder) = export(variable, true).await;
        assert_eq!(answer, Ok("exported".to_owned()), "{variable}");
        assert_eq!(stack.ivs.world().calls.len(), 2, "{variable}");
    }
}

#[tokio::test]
async fn a_foreign_root_is_not_trusted() {
    for variable in ["SSL_CERT_FILE", "AWS_CA_BUNDLE"] {
        let (stack, answer, _folder) = export(variable, false).await;
        assert_eq!(answer, Err("OutOfTime".to_owned()), "{variable}");
        assert!(stack.ivs.world().calls.is_empty(), "{variable}");
    }
}

#[tokio::test]
async fn a_bundle_that_is_none_is_named_before_the_first_event() {
    let parent = Path::new(FOLDER);
    let broken = "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n";
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, content) in [
        ("nowhere.pem", None),
        ("empty.pem", Some("")),
        ("broken.pem", Some(broken)),
        ("hollow.pem", Some(hollow)),
    ] {
        let files = tempfile::tempdir_in(parent).unwrap();
        let file = files.path().join(name);
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let settings = [("AWS_CA_BUNDLE", file.to_str().unwrap())];
        let (mut stack, _folder) = Stack::temporary(Path::new(BOOTSTRAP), parent, &settings)
            .await
            .unwrap();
        let event = request(STAGE, SESSION);
        let died = stack
            .function
            .try_invoke(event, Duration::from_mins(1))
            .await;
        assert!(died.is_err(), "{name}");
        let printed = stack.function.printed();
        for part in [r#""error_type":"InvalidSettings""#, "AWS_CA_BUNDLE", name] {
            assert!(printed.contains(part), "{name}: {printed}");
        }
    }
}
