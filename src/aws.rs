//! What the clients of all services share: one HTTP client, the region, the credentials. Made once, at the cold start.
//!
//! The SDK's own loader also knows profiles, roles and other sources of credentials, which Lambda does not have, and which
//! make the function a twentieth larger. So the configuration is made here, from the variables that `config` reads.

use std::fs;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use webpki::anchor_from_trusted_cert;

use crate::config::{Config, ConfigError};

const CA_BUNDLE_RULE: &str = "must be a readable file of valid certificates in PEM";

/// The configuration of all clients, without an endpoint.
///
/// # Errors
/// When `AWS_CA_BUNDLE` names a file that does not hold valid certificates.
pub fn sdk_config(config: &Config) -> Result<SdkConfig, ConfigError> {
    let tls = TlsContext::builder().with_trust_store(trust_store(config.ca_bundle.as_deref())?);
    // Never the system's roots in place of those that were asked for.
    let tls = tls
        .build()
        .map_err(|error| wrong_bundle(&error.to_string()))?;
    let https = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .build_https();
    let credentials = EnvironmentVariableCredentialsProvider::new();
    Ok(SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(config.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(https)
        .use_fips(config.use_fips)
        .use_dual_stack(config.use_dual_stack)
        .build())
}

/// The same configuration for the service at `endpoint`, or at AWS's own.
#[must_use]
pub fn at(sdk: &SdkConfig, endpoint: Option<String>) -> SdkConfig {
    let mut sdk = sdk.clone().into_builder();
    sdk.set_endpoint_url(endpoint);
    sdk.build()
}

/// The roots in `ca_bundle`; else the system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
fn trust_store(ca_bundle: Option<&str>) -> Result<TrustStore, ConfigError> {
    let Some(file) = ca_bundle else {
        return Ok(TrustStore::default());
    };
    let bundle = fs::read(file).map_err(|_| wrong_bundle(file))?;
    // At a broken certificate the SDK panics, and of an empty file it takes no root at all.
    let mut certificates = CertificateDer::pem_slice_iter(&bundle).peekable();
    let valid = certificates.peek().is_some()
        && certificates.all(|certificate| {
            certificate.is_ok_and(|certificate| anchor_from_trusted_cert(&certificate).is_ok())
        });
    if !valid {
        return Err(wrong_bundle(file));
    }
    Ok(TrustStore::empty().with_pem_certificate(bundle))
}

fn wrong_bundle(value: &str) -> ConfigError {
    ConfigError::Wrong {
        variable: "AWS_CA_BUNDLE",
        value: value.to_owned(),
        rule: CA_BUNDLE_RULE,
    }
}
