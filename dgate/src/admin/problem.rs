//! How the Admin API says no: problem documents (RFC 9457), with a pointer for each error.

use crate::config::Diagnostic;
use crate::control::{LedgerError, Rejection};
use crate::store::StoreError;
use axum::response::{IntoResponse, Response};
use dgate_core::exchange::random_id;
use dgate_core::reply::PROBLEM_JSON;
use http::{StatusCode, header};
use serde_json::{Value as Json, json};

/// A refused call.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<Diagnostic>,
    more: Option<(&'static str, Json)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            more: None,
        }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(super) fn invalid(errors: Vec<Diagnostic>) -> Self {
        Self {
            errors,
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "the input is invalid",
            )
        }
    }

    fn with(mut self, name: &'static str, value: Json) -> Self {
        self.more = Some((name, value));
        self
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        match rejection {
            Rejection::Invalid(errors) => Self::invalid(errors),
            Rejection::Conflict(errors) => Self {
                errors,
                ..Self::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    "the input conflicts with what is there",
                )
            },
            Rejection::Revision { current, .. } => {
                Self::new(StatusCode::CONFLICT, "revision_mismatch", detail)
                    .with("current_revision", current.into())
            }
            Rejection::Precondition(_) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                detail,
            ),
            Rejection::NotFound(_) | Rejection::NoRevision(_) => Self::not_found(detail),
            Rejection::Storage(error) => {
                let (status, code) = match error {
                    StoreError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "storage_full"),
                    StoreError::TooLarge { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "too_large"),
                    _ => (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable"),
                };
                Self::new(status, code, detail)
            }
            Rejection::Unreadable(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            }
            Rejection::Referenced { by, .. } => {
                let by: Vec<_> = by
                    .iter()
                    .map(|k| json!({"kind": k.kind.singular(), "key": k.path()}))
                    .collect();
                Self::new(StatusCode::CONFLICT, "referenced", detail).with("referrers", by.into())
            }
        }
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Rejection::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:dgate:error:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "request_id": random_id().to_str().unwrap_or_default(),
        });
        if !self.errors.is_empty() {
            body["errors"] = self
                .errors
                .iter()
                .map(|d| json!({"pointer": d.pointer, "detail": d.detail}))
                .collect();
        }
        if let Some((name, value)) = self.more {
            body[name] = value;
        }
        (
            self.status,
            [(header::CONTENT_TYPE, PROBLEM_JSON)],
            body.to_string(),
        )
            .into_response()
    }
}
