//! How the Admin API says no: problem documents (RFC 9457), with a pointer for each error.

use crate::config::{Diagnostic, shortened, told};
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

    pub(super) fn precondition(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            detail,
        )
    }

    /// Whether what the change relied on did not hold.
    pub(super) fn is_precondition(&self) -> bool {
        self.status == StatusCode::PRECONDITION_FAILED
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
            Rejection::Precondition(_) => Self::precondition(detail),
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
                    .map(|key| match key.is_globals() {
                        true => json!({"kind": "configuration", "key": key.name}),
                        false => json!({"kind": key.kind.singular(), "key": key.path()}),
                    })
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
            "detail": shortened(self.detail),
            "code": self.code,
            "request_id": random_id().to_str().unwrap_or_default(),
        });
        if !self.errors.is_empty() {
            body["errors"] = told(&self.errors)
                .into_iter()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_that_takes_nothing_says_why_by_its_status() {
        let path = || "/data".into();
        let full = StoreError::Full {
            path: path(),
            free: 1,
            needed: 2,
        };
        let failed = StoreError::Failed {
            path: path(),
            reason: "a bad block".to_owned(),
        };
        let large = StoreError::TooLarge {
            what: "value",
            size: 2,
            limit: 1,
        };
        for (error, status, code) in [
            (full, 507, "storage_full"),
            (
                StoreError::ReadOnly { path: path() },
                503,
                "storage_unavailable",
            ),
            (failed, 503, "storage_unavailable"),
            (StoreError::Closed, 503, "storage_unavailable"),
            (large, 422, "too_large"),
        ] {
            let detail = error.to_string();
            let refusal = Refusal::from(Rejection::Storage(error));
            assert_eq!((refusal.status.as_u16(), refusal.code), (status, code));
            assert_eq!(refusal.detail, detail);
        }
    }
}
