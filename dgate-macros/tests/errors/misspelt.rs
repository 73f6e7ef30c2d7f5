#![allow(unused_imports)]

use dgate_core::{BoxError, Error, Exchange, Flow, Plugin, Request, Response, Setup, plugin};

struct Tag;

#[plugin]
impl Plugin for Tag {
    const NAME: &'static str = "My Tag";
    type Config = ();
    fn new(_: (), _: &Setup) -> Result<Self, BoxError> {
        Ok(Self)
    }
    async fn requestModifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        Ok(req)
    }
    async fn response_modifer(&self, _: &Exchange, res: Response) -> Flow<Response> {
        Ok(res)
    }
    async fn error_handler(&self, _: &Exchange, err: Error) -> Result<Response, Error> {
        Err(err)
    }
}

fn main() {}
