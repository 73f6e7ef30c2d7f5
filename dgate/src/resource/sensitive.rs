//! Fields that never leave the gateway: where they stand in a resource, and how they get out of it and back in.

use super::{Domain, Secret, Service, Spec};
use serde_json::Value as Json;

/// A sensitive field of a resource: the JSON pointer to it, and its value as it would stand in JSON.
pub(crate) type Sensitive = (&'static str, Json);

impl Spec {
    /// The sensitive fields that are set, in the order of their pointers.
    pub(crate) fn sensitive(&self) -> Option<Sensitive> {
        let text = |text: &Option<String>| text.clone().map(Json::String);
        match self {
            Self::Secret(Secret { data, .. }) => Some(("/data", text(data)?)),
            Self::Domain(Domain { key, .. }) => Some(("/key", text(key)?)),
            Self::Service(service) => {
                Some(("/tls/client_key", text(&service.tls.as_ref()?.client_key)?))
            }
            Self::Consumer(consumer) => {
                let json = serde_json::to_value(consumer.credentials.as_ref()?);
                Some(("/credentials", json.expect("credentials are texts")))
            }
            _ => None,
        }
    }

    /// Takes over the sensitive fields that it leaves out: they are never given out, so they can't come back.
    pub(crate) fn keep_sensitive(&mut self, stored: &Self) {
        match (self, stored) {
            (Self::Secret(new), Self::Secret(old)) if new.data.is_none() => {
                new.data.clone_from(&old.data);
            }
            (Self::Domain(new), Self::Domain(old)) if new.cert.is_some() && new.key.is_none() => {
                new.key.clone_from(&old.key);
            }
            (Self::Consumer(new), Self::Consumer(old)) if new.credentials.is_none() => {
                new.credentials.clone_from(&old.credentials);
            }
            (Self::Service(new), Self::Service(old)) => keep_client_key(new, old),
            _ => {}
        }
    }

    /// What is missing when a sensitive field was left out and nothing is stored: its pointer, and a sentence.
    pub(crate) fn lacks_sensitive(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Secret(secret) if secret.data.is_none() => Some((
                "/data",
                "data is missing, and none is stored that could be kept",
            )),
            _ => None,
        }
    }
}

fn keep_client_key(new: &mut Service, old: &Service) {
    if let (Some(new), Some(old)) = (&mut new.tls, &old.tls)
        && new.client_cert.is_some()
        && new.client_key.is_none()
    {
        new.client_key.clone_from(&old.client_key);
    }
}
