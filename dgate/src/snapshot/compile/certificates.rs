//! The certificates of domains: parsed when they are written, and taken over with their TLS sessions as long as
//! they stay what they are.

use super::super::certificates::{Access, ClientAuth};
use super::{Run, Warning};
use crate::resource::{Domain, Key, Spec, Stored};
use std::sync::Arc;

/// What a domain's texts were compiled to.
pub(super) struct KeptCertificate {
    stored: Arc<Stored>,
    made: Made,
    pub(super) warnings: Vec<Warning>,
}

/// What a domain adds to where its hosts lead.
#[derive(Clone, Default)]
pub(super) struct Made {
    pub(super) access: Option<Arc<Access>>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<super::super::certificates::DomainTls>>,
}

impl KeptCertificate {
    fn domain(&self) -> Option<&Domain> {
        match &self.stored.spec {
            Spec::Domain(domain) => Some(domain),
            _ => None,
        }
    }
}

impl Run<'_> {
    /// Compiles what a domain says of TLS. Nothing when it says nothing, or when that is wrong.
    pub(super) fn certificate(&mut self, key: &Key, stored: &Arc<Stored>, spec: &Domain) -> Made {
        if spec.cert.is_none() && spec.key.is_none() && spec.mtls.is_none() && !spec.redirect_https
        {
            return Made::default();
        }
        let known = self.old.and_then(|o| o.certificates.get(key));
        let before = known.and_then(|k| Some((k, k.domain()?)));
        let same = before.filter(|(known, old)| {
            Arc::ptr_eq(&known.stored, stored)
                || (old.cert == spec.cert
                    && old.key == spec.key
                    && old.mtls == spec.mtls
                    && old.redirect_https == spec.redirect_https)
        });
        let (made, warnings) = match same {
            Some((known, _)) => (known.made.clone(), known.warnings.clone()),
            None => {
                // A renewed certificate is no reason to turn away connections that are let in already.
                let auth = before
                    .filter(|(_, old)| old.mtls == spec.mtls)
                    .and_then(|(known, _)| known.made.access.as_ref()?.client_auth.clone());
                self.make(key, spec, auth)
            }
        };
        let kept = KeptCertificate {
            stored: stored.clone(),
            made: made.clone(),
            warnings,
        };
        self.kept.certificates.insert(key.clone(), kept);
        made
    }

    fn make(
        &mut self,
        key: &Key,
        spec: &Domain,
        auth: Option<Arc<ClientAuth>>,
    ) -> (Made, Vec<Warning>) {
        let client_auth = spec.mtls.as_ref().map(|mtls| {
            auth.unwrap_or_else(|| {
                Arc::new(ClientAuth {
                    required: mtls.required,
                })
            })
        });
        let mut made = Made::default();
        let warnings = self.parse(key, spec, client_auth.as_ref(), &mut made);
        if spec.redirect_https || client_auth.is_some() {
            made.access = Some(Arc::new(Access {
                redirect_https: spec.redirect_https,
                client_auth,
            }));
        }
        (made, warnings)
    }

    #[cfg(feature = "tls")]
    fn parse(
        &mut self,
        key: &Key,
        spec: &Domain,
        auth: Option<&Arc<ClientAuth>>,
        made: &mut Made,
    ) -> Vec<Warning> {
        use super::super::certificates::{DomainTls, Mutual, Served, TlsError};

        let mut warnings = Vec::new();
        let served = match (&spec.cert, &spec.key) {
            (Some(cert), Some(secret)) => {
                match Served::from_pem(cert.as_bytes(), secret.as_bytes()) {
                    Ok(served) => {
                        warnings.extend(validity(&served).map(|detail| Warning {
                            key: key.clone(),
                            detail,
                        }));
                        Some(served)
                    }
                    Err(error @ TlsError::Key(_)) => {
                        self.invalid(key, "/key", format!("`key` {error}"));
                        None
                    }
                    Err(error) => {
                        self.invalid(key, "/cert", format!("`cert` {error}"));
                        None
                    }
                }
            }
            (Some(_), None) => {
                let detail = "`cert` needs its `key`, and none is stored that could be kept";
                self.invalid(key, "/key", detail);
                None
            }
            (None, Some(_)) => {
                self.invalid(key, "/cert", "`key` is given without `cert`: give both");
                None
            }
            (None, None) => None,
        };
        let mutual = match (&spec.mtls, auth) {
            (Some(mtls), Some(auth)) => {
                match Mutual::new(auth.clone(), &mtls.ca_cert, served.as_ref()) {
                    Ok(mutual) => Some(mutual),
                    Err(detail) => {
                        self.invalid(key, "/mtls/ca_cert", format!("`ca_cert` {detail}"));
                        None
                    }
                }
            }
            _ => None,
        };
        if served.is_some() || mutual.is_some() {
            made.tls = Some(Arc::new(DomainTls { served, mutual }));
        }
        warnings
    }

    #[cfg(not(feature = "tls"))]
    fn parse(
        &mut self,
        key: &Key,
        spec: &Domain,
        _: Option<&Arc<ClientAuth>>,
        _: &mut Made,
    ) -> Vec<Warning> {
        let fields = [
            ("/cert", spec.cert.is_some()),
            ("/key", spec.key.is_some()),
            ("/mtls", spec.mtls.is_some()),
        ];
        for (pointer, given) in fields {
            if given {
                self.invalid(
                    key,
                    pointer,
                    "this build has no TLS: build with feature `tls`",
                );
            }
        }
        Vec::new()
    }
}

/// Whether clients will refuse a certificate because of its dates, as far as can be said now.
#[cfg(feature = "tls")]
fn validity(served: &super::super::certificates::Served) -> Option<String> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    let leaf = served.cert.cert.first()?;
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let now = OffsetDateTime::now_utc();
    let (from, until) = (leaf.validity.not_before, leaf.validity.not_after);
    let (from, until) = (from.to_datetime(), until.to_datetime());
    let text = |t: OffsetDateTime| t.format(&Rfc3339).unwrap_or_default();
    if now > until {
        Some(format!("the certificate expired at {}", text(until)))
    } else if now < from {
        Some(format!(
            "the certificate is not valid before {}",
            text(from)
        ))
    } else {
        None
    }
}
