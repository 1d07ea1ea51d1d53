//! What can go wrong with keys and certificates.

/// Why a key or a certificate could not be made or read.
///
/// No variant shows any part of a private key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A private RSA key could not be made.
    #[error("generate an RSA key of {bits} bits")]
    GenerateRsaKey {
        /// Size of the key.
        bits: usize,
        /// Why.
        #[source]
        source: rsa::Error,
    },
    /// A private key could not be made, or not be used by the certificate library.
    #[error("make a {algorithm} key")]
    MakeKey {
        /// Algorithm of the key.
        algorithm: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A private RSA key could not be written in a standard form.
    #[error("encode a private key")]
    EncodeKey {
        /// Why.
        #[source]
        source: rsa::pkcs8::Error,
    },
    /// A private RSA key could not be written as PKCS#1.
    #[error("encode a private RSA key")]
    EncodeRsaKey {
        /// Why.
        #[source]
        source: rsa::pkcs1::Error,
    },
    /// The private key of an authority cannot be read.
    #[error(
        "read the private key of the authority: it is none of RSA PRIVATE KEY, EC PRIVATE KEY and \
         PRIVATE KEY in PEM, or not RSA of at least 2048 bits, P-256 or P-384"
    )]
    ReadKey,
    /// A certificate cannot be read.
    #[error("read a PEM certificate: {problem}")]
    ReadCertificate {
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate could not be signed.
    #[error("sign the certificate for {subject}")]
    Sign {
        /// Common name.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The thread that makes a key ended.
    #[error("wait for the keys")]
    Thread {
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
}
