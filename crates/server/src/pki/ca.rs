//! A certificate authority: the one that signs the serving certificate, the administrator and the nodes, or the one that
//! proves to extension servers who passes a request on.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{Error, files, malformed};

const CA_YEARS: i16 = 10;
const CLIENT_DAYS: i64 = 365;

/// A certificate authority with its key.
pub struct Ca {
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct ClientCert {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl Ca {
    pub(super) fn open(dir: &Path) -> Result<Ca, Error> {
        Ca::open_as(dir, "ca", "gantry-ca")
    }

    /// The authority in files of this name; made under the name `name` when there is none.
    pub(super) fn open_as(dir: &Path, file: &str, name: &str) -> Result<Ca, Error> {
        let (cert_path, key_path) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
        if let (Some(pem), Some(key_pem)) = (files::read(&cert_path)?, files::read(&key_path)?) {
            let key = KeyPair::from_pem(&key_pem).map_err(|error| malformed(&key_path, error))?;
            let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|error| malformed(&cert_path, error))?;
            return Ok(Ca { pem, key_pem, issuer });
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        set_validity(&mut params, i64::from(CA_YEARS) * 365);
        let pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        // The certificate comes last: with it, and only with it, is the pair complete.
        files::write(&key_path, &key_pem, 0o600)?;
        files::write(&cert_path, &pem, 0o644)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key)?;
        Ok(Ca { pem, key_pem, issuer })
    }

    /// The CA's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA's private key, for the controller that signs nodes' requests.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A client certificate: who is the common name, in which group the organization. One group at most: the library
    /// holds each part of a name once.
    pub fn client(&self, name: &str, group: Option<&str>) -> Result<ClientCert, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        set_validity(&mut params, CLIENT_DAYS);
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(ClientCert {
            cert_pem,
            key_pem: key.serialize_pem(),
        })
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

/// Valid from yesterday (clocks differ) for some days.
pub(super) fn set_validity(params: &mut CertificateParams, days: i64) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let from = today.yesterday().unwrap_or(today);
    let until = today.saturating_add(jiff::Span::new().days(days));
    for (day, field) in [(from, &mut params.not_before), (until, &mut params.not_after)] {
        *field = rcgen::date_time_ymd(
            i32::from(day.year()),
            day.month().unsigned_abs(),
            day.day().unsigned_abs(),
        );
    }
    params.use_authority_key_identifier_extension = true;
}
