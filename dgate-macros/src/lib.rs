//! The attribute `#[dgate::plugin]`, re-exported by `dgate` and `dgate_core`.

use proc_macro::TokenStream;
use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote};
use syn::{ImplItem, ItemImpl, parse_macro_input};

/// The five hooks, as methods of `Plugin`.
const HOOKS: [&str; 5] = [
    "fetch_upstream",
    "request_handler",
    "request_modifier",
    "response_modifier",
    "error_handler",
];

/// Over `impl Plugin for …`: fills `Plugin::HOOKS` from the hooks that the block implements. rustc checks
/// everything else.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        let error = syn::Error::new(Span::call_site(), "#[plugin] takes no arguments");
        return error.to_compile_error().into();
    }
    let block = parse_macro_input!(item as ItemImpl);
    expand(block)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn expand(mut block: ItemImpl) -> syn::Result<Tokens> {
    let names_plugin = block
        .trait_
        .as_ref()
        .and_then(|(_, path, _)| path.segments.last())
        .is_some_and(|s| s.ident == "Plugin");
    if !names_plugin {
        return Err(syn::Error::new_spanned(
            &block.self_ty,
            "#[plugin] goes over `impl Plugin for …`",
        ));
    }
    let core = core_path()?;
    let mut set = quote!(#core::HookSet::NONE);
    for item in &block.items {
        match item {
            ImplItem::Fn(method) if HOOKS.iter().any(|h| method.sig.ident == h) => {
                let constant = format_ident!("{}", method.sig.ident.to_string().to_uppercase());
                set = quote!(#set.union(#core::HookSet::#constant));
            }
            ImplItem::Const(constant) if constant.ident == "HOOKS" => {
                return Err(syn::Error::new_spanned(
                    constant,
                    "HOOKS is written by #[plugin]: remove this line",
                ));
            }
            _ => {}
        }
    }
    block
        .items
        .push(syn::parse2(quote!(const HOOKS: #core::HookSet = #set;))?);
    Ok(quote!(#block))
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
    Err(syn::Error::new(
        Span::call_site(),
        "#[plugin] needs `dgate` or `dgate-core` among the dependencies",
    ))
}
