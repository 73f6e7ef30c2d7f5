//! Hooks as `async fn` and as functions that give a future; methods of other names are left to rustc.
use dgate_core::{BoxError, Exchange, Flow, Plugin, Request, Response, Setup, plugin};

struct Tag;

#[plugin]
impl Plugin for Tag {
    const NAME: &'static str = "tag-2";
    type Config = ();
    fn new(_: (), _: &Setup) -> Result<Self, BoxError> {
        Ok(Self)
    }
    async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        Ok(req)
    }
    fn response_modifier(&self, _: &Exchange, res: Response) -> impl Future<Output = Flow<Response>> + Send {
        std::future::ready(Ok(res))
    }
}

fn main() {
    assert!(Tag::HOOKS.names().eq(["request_modifier", "response_modifier"]));
}
