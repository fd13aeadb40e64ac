//! The authority and the certificate by which extension servers know that the user whom a request's headers name was
//! authenticated here. The authority is one of its own: what it signs must be good for nothing else.

use std::path::Path;

use super::{Ca, ClientCert, Error};

/// The name in the certificate, which extension servers are told to accept.
pub(crate) const NAME: &str = "front-proxy-client";

/// What proves to extension servers who passes a request on.
pub(crate) struct FrontProxy {
    ca: Ca,
    client: ClientCert,
}

impl FrontProxy {
    /// The authority is kept; a certificate is issued anew at each start.
    pub(super) fn open(dir: &Path) -> Result<FrontProxy, Error> {
        let ca = Ca::open_as(dir, "front-proxy-ca", "gantry-front-proxy-ca")?;
        let client = ca.client(NAME, None)?;
        Ok(FrontProxy { ca, client })
    }

    /// The authority's certificate.
    pub(crate) fn ca_pem(&self) -> &str {
        self.ca.pem()
    }

    /// The certificate to show, with its key.
    pub(crate) fn client(&self) -> &ClientCert {
        &self.client
    }
}
