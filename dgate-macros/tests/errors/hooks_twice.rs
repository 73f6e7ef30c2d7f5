#![allow(unused_imports)]

use dgate_core::{BoxError, Exchange, Flow, HookSet, Plugin, Request, Setup, plugin};

struct Tag;

#[plugin]
impl Plugin for Tag {
    const NAME: &'static str = "tag";
    const HOOKS: HookSet = HookSet::NONE;
    type Config = ();
    fn new(_: (), _: &Setup) -> Result<Self, BoxError> {
        Ok(Self)
    }
    async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        Ok(req)
    }
}

fn main() {}
