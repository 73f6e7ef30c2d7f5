//! The attribute `#[dgate::plugin]`, re-exported by `dgate` and `dgate_core`.

use proc_macro::TokenStream;
use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream as Tokens};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Error, Expr, ExprLit, FnArg, ImplItem, ImplItemFn, Item, Lit, ReturnType, Signature, Type,
};

/// The five hooks, as methods of `Plugin`.
const HOOKS: [&str; 5] = [
    "fetch_upstream",
    "request_handler",
    "request_modifier",
    "response_modifier",
    "error_handler",
];

/// Over `impl Plugin for …`: fills `Plugin::HOOKS` from the hooks that the block implements. What rustc would say
/// only in a roundabout way is an error here; it checks everything else.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn expand(arguments: Tokens, item: Tokens) -> syn::Result<Tokens> {
    if !arguments.is_empty() {
        let detail = "#[plugin] takes no arguments: the name is `const NAME`";
        return Err(Error::new_spanned(arguments, detail));
    }
    const PLACE: &str = "#[plugin] goes over `impl Plugin for …`";
    let mut block = match syn::parse2(item)? {
        Item::Impl(block) => block,
        other => return Err(Error::new_spanned(other, PLACE)),
    };
    let of_trait = block
        .trait_
        .as_ref()
        .and_then(|(_, path, _)| path.segments.last());
    if of_trait.is_none_or(|last| last.ident != "Plugin") {
        return Err(Error::new_spanned(&block.self_ty, PLACE));
    }
    let mut wrong = Wrong::default();
    let hooks: Vec<_> = block.items.iter().filter_map(hook).collect();
    for item in &block.items {
        wrong.look_at(item);
    }
    for hook in &hooks {
        wrong.look_at_hook(&hook.sig);
    }
    let layers =
        |item: &ImplItem| matches!(item, ImplItem::Fn(method) if method.sig.ident == "layer");
    if hooks.is_empty() && !block.items.iter().any(layers) {
        let detail = format!(
            "a plugin has a hook or a layer: write one of {}, layer",
            HOOKS.join(", ")
        );
        wrong.add(&block.self_ty, &detail);
    }
    wrong.none()?;
    let core = core_path()?;
    let constants = hooks
        .iter()
        .map(|hook| format_ident!("{}", hook.sig.ident.to_string().to_uppercase()));
    let set = quote!(#core::HookSet::NONE #(.union(#core::HookSet::#constants))*);
    block
        .items
        .push(syn::parse2(quote!(const HOOKS: #core::HookSet = #set;))?);
    Ok(quote!(#block))
}

fn hook(item: &ImplItem) -> Option<&ImplItemFn> {
    match item {
        ImplItem::Fn(method) if HOOKS.iter().any(|hook| method.sig.ident == hook) => Some(method),
        _ => None,
    }
}

/// All that is wrong with a block, told at once.
#[derive(Default)]
struct Wrong(Option<Error>);

impl Wrong {
    fn add(&mut self, at: &impl ToTokens, detail: &str) {
        let error = Error::new_spanned(at, detail);
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    fn none(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }

    fn look_at(&mut self, item: &ImplItem) {
        match item {
            ImplItem::Const(constant) if constant.ident == "HOOKS" => {
                self.add(constant, "HOOKS is written by #[plugin]: remove this line");
            }
            ImplItem::Const(constant) if constant.ident == "NAME" => {
                if let Expr::Lit(ExprLit {
                    lit: Lit::Str(name),
                    ..
                }) = &constant.expr
                    && !is_name(&name.value())
                {
                    self.add(name, "a plugin's name is lower-case letters, digits and dashes, such as `my-plugin`");
                }
            }
            ImplItem::Fn(method) => {
                let name = method.sig.ident.to_string();
                if let Some(meant) = HOOKS.iter().find(|hook| is_slip(&name, hook)) {
                    let detail = format!("there is no hook `{name}`: did you mean `{meant}`?");
                    self.add(&method.sig.ident, &detail);
                }
            }
            _ => {}
        }
    }

    fn look_at_hook(&mut self, hook: &Signature) {
        let returns_future =
            matches!(&hook.output, ReturnType::Type(_, ty) if matches!(**ty, Type::ImplTrait(_)));
        if hook.asyncness.is_none() && !returns_future {
            self.add(
                &hook.fn_token,
                &format!("a hook is asynchronous: write `async fn {}`", hook.ident),
            );
        }
        match hook.inputs.first() {
            Some(FnArg::Receiver(this))
                if this.mutability.is_some() || this.reference.is_none() =>
            {
                self.add(this, "a hook takes `&self`, since requests run at the same time: keep what changes in atomics or behind a lock");
            }
            Some(FnArg::Receiver(_)) => {}
            _ => self.add(&hook.ident, "a hook takes `&self`"),
        }
    }
}

/// Names of resources and plugins, in configurations.
fn is_name(name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.bytes().all(inside) && !name.is_empty() && !name.starts_with('-') && !name.ends_with('-')
}

/// Whether a method's name is a hook's, but in camel case as modules have it, or in the wrong number, or with a letter
/// missing, doubled or changed.
fn is_slip(name: &str, hook: &str) -> bool {
    let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
    name != hook && (plain(name) == plain(hook) || strsim::damerau_levenshtein(name, hook) <= 2)
}

/// `dgate_core` or `dgate`, under whatever name the calling crate depends on it.
fn core_path() -> syn::Result<Tokens> {
    for package in ["dgate-core", "dgate"] {
        match crate_name(package) {
            // Inside the package itself, and in its doc tests, the name of the library works as well.
            Ok(FoundCrate::Itself) => {
                let name = format_ident!("{}", package.replace('-', "_"));
                return Ok(quote!(::#name));
            }
            Ok(FoundCrate::Name(name)) => {
                let name = format_ident!("{name}");
                return Ok(quote!(::#name));
            }
            Err(_) => {}
        }
    }
    Err(Error::new(
        Span::call_site(),
        "#[plugin] needs `dgate` or `dgate-core` among the dependencies",
    ))
}
