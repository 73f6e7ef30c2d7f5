//! Plugins made ready for their places; one whose use did not change keeps its state.

use super::secrets::Revealed;
use super::{Inputs, Run};
use crate::config::{Node, PluginUse, join, validate_hiding};
use crate::resource::{Key, Kind, Spec};
use dgate_core::plugin::{FieldError, Plugged, Setup};

impl Run<'_> {
    /// Makes the plugins of one place ready; those that did not change keep their state.
    pub(super) fn plugins(
        &mut self,
        owner: Option<&Key>,
        uses: &[PluginUse],
        setup: &Setup,
    ) -> Vec<Plugged> {
        let mut ready = Vec::with_capacity(uses.len());
        for (at, declared) in uses.iter().enumerate() {
            let slot = (owner.cloned(), at);
            if self.failed.contains(&slot) {
                continue;
            }
            let problems = self.problems.len();
            let Some(revealed) = self.revealed(owner, at, declared) else {
                continue;
            };
            let usage = &PluginUse {
                config: revealed.config.clone(),
                ..declared.clone()
            };
            let known = self
                .kept
                .plugins
                .get(&slot)
                .or(self.old.and_then(|o| o.plugins.get(&slot)))
                .filter(|(u, _)| u == usage)
                .or_else(|| self.moved(owner, uses, usage));
            let plugged = match known {
                Some((_, plugged)) => Some(plugged.clone()),
                None => self.plug(owner, at, usage, setup, &revealed),
            };
            if self.problems.len() > problems {
                // Said once, however many routes it is on.
                self.failed.insert(slot);
            } else if let Some(plugged) = plugged {
                let kept = (usage.clone(), plugged.clone());
                self.kept.plugins.insert(slot, kept);
                ready.push(plugged);
            }
        }
        ready
    }

    /// Makes the plugins of namespaces and services ready that no route has, so that what is wrong with them is told
    /// when they are written.
    pub(super) fn unused_plugins(&mut self) {
        let all = self.state.of_kind(Kind::Namespace);
        for (key, stored) in all.chain(self.state.of_kind(Kind::Service)) {
            let (uses, setup) = match &stored.spec {
                Spec::Namespace(namespace) => (&namespace.plugins, Setup::new(&*key.name, "")),
                Spec::Service(service) => {
                    let place = format!("service/{}", key.name);
                    (&service.plugins, Setup::new(&*key.namespace, place))
                }
                _ => continue,
            };
            let used = |at| self.kept.plugins.contains_key(&(Some(key.clone()), at));
            if !(0..uses.len()).all(used) {
                self.plugins(Some(key), uses, &setup);
            }
        }
    }

    /// The config of a plugin with its secrets; `None` when it waits for one.
    fn revealed(&mut self, owner: Option<&Key>, at: usize, usage: &PluginUse) -> Option<Revealed> {
        let namespace = owner.map_or("default", |key| &key.namespace);
        let pointer = format!("/plugins/{at}/config");
        let mut revealed = self.reveal(namespace, &usage.config, &pointer);
        // At the first start the secrets of those on every route come with the routes.
        let waits = owner.is_none() && self.state.of_kind(Kind::Route).next().is_none();
        if waits && !revealed.problems.is_empty() {
            return None;
        }
        let global = Key::globals();
        for (pointer, detail) in std::mem::take(&mut revealed.problems) {
            let detail = format!("plugin `{}`: {detail}", usage.name);
            self.invalid(owner.unwrap_or(&global), pointer, detail);
        }
        Some(revealed)
    }

    /// The plugin whose use only has another place in its list now. Where a use stands twice, which of them it was
    /// cannot be said.
    fn moved(
        &self,
        owner: Option<&Key>,
        uses: &[PluginUse],
        usage: &PluginUse,
    ) -> Option<&(PluginUse, Plugged)> {
        if uses.iter().filter(|u| *u == usage).count() > 1 {
            return None;
        }
        let old = self.old?;
        let mut same = (0..)
            .map_while(|at| old.plugins.get(&(owner.cloned(), at)))
            .filter(|(u, _)| u == usage);
        same.next().filter(|_| same.next().is_none())
    }

    fn plug(
        &mut self,
        owner: Option<&Key>,
        at: usize,
        usage: &PluginUse,
        setup: &Setup,
        revealed: &Revealed,
    ) -> Option<Plugged> {
        // Global plugins belong to no resource; their problems name the configuration file's list.
        let global = Key::globals();
        let owner = owner.unwrap_or(&global);
        let pointer = format!("/plugins/{at}");
        let Some(entry) = self.compiler.registry.get(&usage.name).cloned() else {
            let known: Vec<_> = self.compiler.registry.names().collect();
            let known = if known.is_empty() {
                "none is registered".to_owned()
            } else {
                format!("known ones are {}", known.join(", "))
            };
            self.invalid(
                owner,
                join(&pointer, "name"),
                format!("unknown plugin `{}`: {known}", usage.name),
            );
            return None;
        };
        let pointer = join(&pointer, "config");
        let node = Node::from_json(&usage.config);
        let errors = validate_hiding(&node, entry.schema(), &pointer, &revealed.hidden);
        if errors.is_empty() {
            return match entry.plug(usage.config.clone(), setup) {
                Ok(plugged) => Some(plugged),
                Err(error) => {
                    let field = error.downcast_ref::<FieldError>();
                    let pointer = pointer + field.map_or("", FieldError::pointer);
                    // What a plugin says may repeat any part of its config, in any form.
                    let detail = if revealed.hidden.is_empty() {
                        error.to_string()
                    } else {
                        "its config is not accepted with the value of its secret".to_owned()
                    };
                    let detail = format!("plugin `{}`: {detail}", usage.name);
                    self.invalid(owner, pointer, detail);
                    None
                }
            };
        }
        for error in errors {
            // The field by its name, unless the message has it: where the config stands in a list the pointer says little.
            let field = error.pointer.rsplit('/').next().unwrap_or_default();
            let named = error.detail.contains(&format!("`{field}`"));
            let detail = if named {
                error.detail
            } else {
                format!("`{field}`: {}", error.detail)
            };
            let detail = format!("plugin `{}`: {detail}", usage.name);
            self.invalid(owner, error.pointer, detail);
        }
        None
    }

    /// Keeps the plugins of a route that is taken over as it is.
    pub(super) fn keep_plugins(&mut self, inputs: &Inputs) {
        let Some(old) = self.old else { return };
        for stored in [
            Some(&inputs.route),
            Some(&inputs.namespace),
            inputs.service.as_ref(),
        ]
        .into_iter()
        .flatten()
        {
            let key = stored.spec.key();
            let slots = (0..)
                .map(|at| (Some(key.clone()), at))
                .map_while(|slot| old.plugins.get_key_value(&slot));
            for (slot, value) in slots {
                self.kept
                    .plugins
                    .entry(slot.clone())
                    .or_insert_with(|| value.clone());
            }
        }
    }
}
