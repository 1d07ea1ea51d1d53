//! Errors of keys and certificates.

/// Errors of keys and certificates.
///
/// No variant shows any part of a private key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An RSA key could not be generated.
    #[error("generate an RSA key of {bits} bits")]
    GenerateRsaKey {
        /// Size of the key, in bits.
        bits: usize,
        /// The cause.
        #[source]
        source: rsa::Error,
    },
    /// A private key could not be generated, or is unusable for the certificate library.
    #[error("generate a {algorithm} key")]
    MakeKey {
        /// Algorithm of the key.
        algorithm: &'static str,
        /// The cause.
        #[source]
        source: rcgen::Error,
    },
    /// A private RSA key could not be encoded.
    #[error("encode a private key")]
    EncodeKey {
        /// The cause.
        #[source]
        source: rsa::pkcs8::Error,
    },
    /// A private RSA key could not be encoded as PKCS#1.
    #[error("encode a private RSA key")]
    EncodeRsaKey {
        /// The cause.
        #[source]
        source: rsa::pkcs1::Error,
    },
    /// The private key of a CA could not be parsed.
    #[error(
        "read the CA's private key: it must be RSA with at least 2048 bits, P-256 or P-384, in a \
         PEM block RSA PRIVATE KEY, EC PRIVATE KEY or PRIVATE KEY"
    )]
    ReadKey,
    /// A certificate could not be parsed.
    #[error("read a PEM certificate: {problem}")]
    ReadCertificate {
        /// The problem.
        problem: String,
    },
    /// A certificate could not be signed.
    #[error("sign the certificate for {subject}")]
    Sign {
        /// Common name.
        subject: String,
        /// The cause.
        #[source]
        source: rcgen::Error,
    },
    /// The thread that generates a key ended.
    #[error("wait for the keys")]
    Thread {
        /// The cause.
        #[source]
        source: tokio::task::JoinError,
    },
}
