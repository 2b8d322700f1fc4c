//! Why a list or a watch failed, in words that say what to do.

use std::{error::Error, fmt};

use kube::core::Status;

/// Why a list or a watch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum Failure {
    /// 404: no such kind.
    Absent,
    /// 403.
    Forbidden,
    /// 401.
    Unauthorized(String),
    /// What was known is too old, or newer than what the server knows: after a restore of etcd it may.
    Desynced,
    /// The watch ended before its time, as it does when an API server stops or starts anew.
    Ended,
    /// The watch or the answer did not come in time.
    Silent,
    /// No answer that could be understood.
    Unreachable(String),
}

impl Failure {
    /// Label `reason` of `source_restarts_total`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Absent => "not_found",
            Self::Forbidden => "forbidden",
            Self::Unauthorized(_) => "unauthorized",
            Self::Desynced => "desynced",
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// A list that says nothing about where to go on.
    pub(super) fn no_version() -> Self {
        let why = "the API server's list has no resourceVersion; is something else answering in its place?";
        Self::Unreachable(why.to_owned())
    }

    /// From an answer of the API server.
    pub(super) fn of_status(status: &Status) -> Self {
        let too_new = status.message.contains("Too large resource version")
            || status.details.iter().any(|details| {
                let mut causes = details.causes.iter();
                causes.any(|cause| cause.reason == "ResourceVersionTooLarge")
            });
        if too_new {
            return Self::Desynced;
        }
        match status.code {
            410 => Self::Desynced,
            404 => Self::Absent,
            403 => Self::Forbidden,
            401 => Self::Unauthorized(
                "the API server refuses the credentials (401 Unauthorized); a token may have expired: renew it"
                    .to_owned(),
            ),
            code => Self::Unreachable(format!("the API server answers {code}: {}", cut(&status.message))),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "the API server does not know the kind (404)",
            Self::Forbidden => "no permission (403)",
            Self::Unauthorized(why) | Self::Unreachable(why) => why,
            Self::Desynced => "the API server does not have the version any more, or not yet",
            Self::Ended => "the watch ended before its time",
            Self::Silent => "the API server does not answer",
        })
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(&status),
            kube::Error::SerdeError(error) => {
                Self::Unreachable(format!("the API server's answer cannot be read: {error}"))
            }
            other => Self::Unreachable(transport(&other)),
        }
    }
}

/// Longest text of others that a line of the log repeats.
const MAX_TEXT: usize = 300;

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// The innermost causes say it best: hyper's own words are about hyper.
fn transport(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    let all = texts.join(": ");
    let last = texts.last().map(String::as_str).unwrap_or_default();
    if all.contains("invalid peer certificate") {
        let hint = if all.contains("UnknownIssuer") || all.contains("BadSignature") {
            "the certificate authority that Hawser was given did not sign it; check certificate-authority in the \
             kubeconfig"
        } else if all.contains("NotValidForName") {
            "it is for other names; check server and tls-server-name in the kubeconfig"
        } else {
            "check it, and the clocks of both machines"
        };
        return format!(
            "the API server's certificate is not trusted: {}: {hint}",
            cut(last)
        );
    }
    if all.contains("received fatal alert") || all.contains("AlertReceived") {
        return format!(
            "the API server refuses the TLS connection ({}); check the client certificate in the kubeconfig",
            cut(last)
        );
    }
    if all.contains("token") && all.contains("read") {
        return format!("the token file cannot be read: {}", cut(last));
    }
    if last == "deadline has elapsed" {
        return "the API server cannot be reached: no connection in time".to_owned();
    }
    format!("the API server cannot be reached: {}", cut(last))
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;
    use rstest::rstest;

    use super::*;

    fn status(code: u16, message: &str) -> Status {
        Status {
            code,
            message: message.to_owned(),
            ..Status::default()
        }
    }

    #[rstest]
    #[case(410, "too old resource version: 1 (2)", "desynced")]
    #[case(504, "Too large resource version: 9, current: 3", "desynced")]
    #[case(404, "the server could not find the requested resource", "not_found")]
    #[case(403, "forbidden", "forbidden")]
    #[case(401, "Unauthorized", "unauthorized")]
    #[case(500, "etcdserver: request timed out", "unreachable")]
    #[case(0, "", "unreachable")]
    fn answers_have_their_reason(#[case] code: u16, #[case] message: &str, #[case] reason: &str) {
        assert_eq!(Failure::of_status(&status(code, message)).reason(), reason);
    }

    #[test]
    fn a_version_that_the_server_does_not_have_yet_is_told_by_its_cause() {
        let details = serde_json::json!({"causes": [{"reason": "ResourceVersionTooLarge"}]});
        let details: StatusDetails = serde_json::from_value(details).expect("details");
        let status = Status {
            details: Some(details),
            ..status(504, "Timeout")
        };
        assert_eq!(Failure::of_status(&status), Failure::Desynced);
    }

    #[test]
    fn what_is_not_json_is_no_answer() {
        let error = serde_json::from_str::<u8>("{").expect_err("no number");
        let failure = Failure::from(kube::Error::SerdeError(error));
        assert_eq!(failure.reason(), "unreachable");
    }
}
