#![allow(unused_imports)]

use dgate_core::{BoxError, Plugin, Setup, plugin};

struct Tag;

#[plugin]
impl Plugin for Tag {
    const NAME: &'static str = "tag";
    type Config = ();
    fn new(_: (), _: &Setup) -> Result<Self, BoxError> {
        Ok(Self)
    }
}

fn main() {}
