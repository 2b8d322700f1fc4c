//! Everything that can be wrong with a kubeconfig, in words.

use std::fs;

use rstest::rstest;
use tempfile::TempDir;

use super::*;

const GOOD: &str = "
apiVersion: v1
kind: Config
clusters: [{name: one, cluster: {server: 'https://10.0.0.1:6443'}}]
users: [{name: me, user: {token: secret}}]
contexts: [{name: here, context: {cluster: one, user: me, namespace: shop}}]
current-context: here
";

async fn connect_to(text: &str, context: Option<&str>) -> (TempDir, Result<Cluster, ConnectError>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    fs::write(&path, text).expect("a file");
    let result = connect(&settings(path, context)).await;
    (folder, result)
}

fn settings(path: PathBuf, context: Option<&str>) -> Settings {
    Settings {
        kubeconfig: Some(path),
        context: context.map(str::to_owned),
        namespaces: Vec::new(),
        peer_service: None,
        relist_guard: Duration::ZERO,
        controller_name: String::new(),
    }
}

fn words(result: Result<Cluster, ConnectError>) -> String {
    match result {
        Ok(_) => panic!("connected"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_server_that_is_not_asked_cannot_fail() {
    let (_folder, result) = connect_to(GOOD, None).await;
    assert_eq!(
        result.map(|cluster| cluster.namespace).ok().as_deref(),
        Some("shop")
    );
}

#[rstest]
#[case::context(
    "",
    "",
    Some("there"),
    "--context there: no such context; there are: here"
)]
#[case::current(
    "current-context: here",
    "current-context: gone",
    None,
    "current-context gone: no such context; there are: here"
)]
#[case::unset(
    "current-context: here",
    "",
    None,
    "current-context is not set; set it or name one of these with --context: here"
)]
#[case::cluster(
    "{cluster: one",
    "{cluster: two",
    None,
    "contexts[here].context.cluster two: no such cluster; there are: one"
)]
#[case::user(
    "user: me,",
    "user: you,",
    None,
    "contexts[here].context.user you: no such user; there are: me"
)]
#[case::server(
    "server: 'https://10.0.0.1:6443'",
    "",
    None,
    "clusters[one].cluster.server is missing; it is the URL of the API server"
)]
#[case::url(
    "https://10.0.0.1:6443",
    "https://10.0.0.1 6443",
    None,
    "clusters[one].cluster.server is no URL"
)]
#[case::base64(
    "6443'",
    "6443', certificate-authority-data: '%'",
    None,
    "clusters[one].cluster.certificate-authority-data is not base64"
)]
#[case::authority(
    "6443'",
    "6443', certificate-authority: /none/ca.crt",
    None,
    "clusters[one].cluster.certificate-authority /none/ca.crt: no such file"
)]
#[case::pem(
    "6443'",
    "6443', certificate-authority-data: aGVsbG8K",
    None,
    "certificate-authority"
)]
#[case::certificate(
    "token: secret",
    "client-certificate: /none/me.crt, client-key: /none/me.key",
    None,
    "users[me].user.client-certificate /none/me.crt: no such file"
)]
#[case::token(
    "token: secret",
    "tokenFile: /none/token",
    None,
    "users[me].user.tokenFile /none/token: no such file"
)]
#[case::proxy(
    "6443'",
    "6443', proxy-url: 'http://10.0.0.2'",
    None,
    "Hawser does not support proxies"
)]
#[case::yaml("kind: Config", "kind: [", None, "is no kubeconfig")]
#[tokio::test]
async fn what_is_wrong_is_named(
    #[case] from: &str,
    #[case] to: &str,
    #[case] context: Option<&str>,
    #[case] expected: &str,
) {
    let (folder, result) = connect_to(&GOOD.replacen(from, to, 1), context).await;
    let words = words(result);
    let origin = format!("--kubeconfig {}", folder.path().join("config").display());
    assert!(words.starts_with(&origin), "{words}");
    assert!(words.contains(expected), "{words}");
    assert!(
        !words.contains('\n') || expected.contains("no kubeconfig"),
        "{words}"
    );
}

#[rstest]
#[case::empty("", "is no kubeconfig: it has neither clusters nor contexts")]
#[case::other("{a: b}", "is no kubeconfig: it has neither clusters nor contexts")]
#[tokio::test]
async fn another_file_is_no_kubeconfig(#[case] text: &str, #[case] expected: &str) {
    let (_folder, result) = connect_to(text, None).await;
    let words = words(result);
    assert!(words.contains(expected), "{words}");
}

#[tokio::test]
async fn a_file_that_is_not_there_or_is_a_folder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("none");
    let text = words(connect(&settings(missing.clone(), None)).await);
    let expected = format!(
        "--kubeconfig {}: no such file; create it or name another",
        missing.display()
    );
    assert_eq!(text, expected);
    let text = words(connect(&settings(folder.path().to_owned(), None)).await);
    assert!(
        text.ends_with("is a directory; name the file in it"),
        "{text}"
    );
}
