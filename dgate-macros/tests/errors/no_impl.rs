#![allow(unused_imports)]

use dgate_core::plugin;

#[plugin]
struct Tag;

#[plugin]
impl Tag {}

#[plugin]
impl Clone for Tag {}

fn main() {}
