#![allow(unused_imports)]

use dgate_core::{BoxError, Exchange, Flow, Plugin, Request, Response, Setup, plugin};

struct Tag(u64);

#[plugin]
impl Plugin for Tag {
    const NAME: &'static str = "tag";
    type Config = ();
    fn new(_: (), _: &Setup) -> Result<Self, BoxError> {
        Ok(Self(0))
    }
    fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        Ok(req)
    }
    async fn response_modifier(&mut self, _: &Exchange, res: Response) -> Flow<Response> {
        self.0 += 1;
        Ok(res)
    }
    async fn request_handler(_: &Exchange, _: Request) -> Flow<Response> {
        Ok(Response::default())
    }
}

fn main() {}
