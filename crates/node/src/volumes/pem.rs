//! Certificates as volumes show them: PEM blocks without anything around or within them that doesn't belong there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "-----END CERTIFICATE-----\n";

/// The certificates in a text, in their order.
pub(crate) fn read(text: &str) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect()
}

/// A block for each certificate.
pub(crate) fn write<D: AsRef<[u8]>>(certificates: impl IntoIterator<Item = D>) -> String {
    let mut out = String::new();
    for certificate in certificates {
        out.push_str(BEGIN);
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            out.extend(line.iter().map(|byte| char::from(*byte)));
            out.push('\n');
        }
        out.push_str(END);
    }
    out
}
