//! F7 and bad kubeconfigs: what Hawser does before it has ever seen the cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{answers, apply, here, own_plane, page, plane, start};
use crate::kit::{
    DEADLINE, client,
    control_plane::ControlPlane,
    eventually,
    hawser::{self, field},
    manifest, origin,
};

#[test]
fn while_the_api_server_is_down_requests_wait() {
    let plane = own_plane();
    plane.run(async || {
        let namespace = plane.namespace("down").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + &page("first");
        apply(&plane, &namespace, &yaml);
        plane.kill_api();

        let hawser = start(&plane, plane.admin(), &[]).await;
        let address = hawser.http;
        let waiting = tokio::spawn(client::get(address, "pages.test", "/first"));
        let line = hawser
            .logged("it says what it waits for", |line| {
                field(line, "level") == Some("WARN")
                    && line.to_string().contains("cannot be reached")
            })
            .await;
        let line = line.to_string();
        assert!(line.contains("not ready until"), "{line}");
        eventually("it tries again and again", async || {
            let tries = hawser.metric("hawser_source_restarts_total").await?;
            (tries >= 3.0).then_some(())
        })
        .await;
        assert!(!hawser.is_ready().await);
        assert!(
            !waiting.is_finished(),
            "nothing is answered without a table"
        );
        let alive = client::get(hawser.admin, "localhost", "/livez").await;
        assert_eq!(alive.expect("the admin answers").status, 200);

        plane.restart_api().await;
        hawser.ready().await;
        let answer = tokio::time::timeout(DEADLINE, waiting).await;
        let answer = answer.expect("in time").expect("no panic");
        assert_eq!(answer.expect("an answer").status, 200);
        apply(&plane, &namespace, &page("second"));
        answers(&hawser, "second", 200).await;
    });
}

/// What `hawser run` says about a kubeconfig before it ends, and its exit code.
async fn refused(kubeconfig: &Path, flags: &[&str]) -> (i32, String) {
    let mut command = hawser::program();
    command
        .arg("run")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--status", "127.0.0.1:0", "--log-format", "json"])
        .args(flags)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(DEADLINE, command.output()).await;
    let ended = ended.expect("hawser ends").expect("hawser starts");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code().expect("an exit code"), said)
}

fn changed(plane: &ControlPlane, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
    let text = fs::read_to_string(plane.admin()).expect("a kubeconfig");
    let path = plane.folder().join(name);
    fs::write(&path, change(text)).expect("written");
    path
}

#[test]
fn a_kubeconfig_that_cannot_be_used_ends_hawser_with_one_line() {
    let plane = plane();
    plane.run(async || {
        let missing = plane.folder().join("no-such.conf");
        let unreadable = changed(&plane, "unreadable.conf", |text| text);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        fs::set_permissions(&unreadable, mode).expect("permissions");
        let garbage = changed(&plane, "garbage.conf", |_| "clusters: [".to_owned());
        let no_ca = changed(&plane, "no-ca.conf", |text| {
            let start = text
                .find("certificate-authority-data: ")
                .expect("it is there");
            let (head, tail) = text.split_at(start);
            let rest = tail.split_once('}').expect("its end").1;
            format!("{head}certificate-authority: /no/such/ca.crt}}{rest}")
        });
        let no_token = plane.kubeconfig_with(&plane.url(), "no-token", "x");
        let text = fs::read_to_string(&no_token).expect("a kubeconfig");
        fs::write(
            &no_token,
            text.replace("token: x", "tokenFile: /no/such/token"),
        )
        .expect("written");
        let admin = plane.admin();
        let none: &[&str] = &[];
        for (path, flags, words) in [
            (&*missing, none, &["no such file"][..]),
            (&*unreadable, none, &["permission denied"]),
            (&*garbage, none, &["is no kubeconfig"]),
            (
                &*no_ca,
                none,
                &["certificate-authority", "/no/such/ca.crt", "no such file"],
            ),
            (
                &*no_token,
                none,
                &["tokenFile /no/such/token", "no such file"],
            ),
            (
                admin,
                &["--context", "prod"],
                &["--context prod: no such context; there are: test"],
            ),
        ] {
            let (code, said) = refused(path, flags).await;
            assert_eq!(code, 64, "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            for words in words {
                assert!(said.contains(words), "{words}: {said}");
            }
        }
    });
}

#[test]
fn a_server_that_refuses_is_named_and_tried_again() {
    let plane = plane();
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).expect("a certificate");
    let other = STANDARD.encode(other.cert.pem());
    plane.run(async || {
        let wrong_ca = changed(&plane, "wrong-ca.conf", |text| {
            let start = text
                .find("certificate-authority-data: ")
                .expect("it is there");
            let (head, tail) = text.split_at(start);
            let rest = tail.split_once('}').expect("its end").1;
            format!("{head}certificate-authority-data: {other}}}{rest}")
        });
        let expired = plane.kubeconfig_with(&plane.url(), "expired", "no-token-of-this-cluster");
        let closed = changed(&plane, "closed.conf", |text| text.replace(":6443", ":6444"));
        for (kubeconfig, words) in [
            (wrong_ca, "certificate is not trusted"),
            (expired, "refuses the credentials (401 Unauthorized)"),
            (closed, "cannot be reached"),
        ] {
            let hawser = start(&plane, &kubeconfig, &[]).await;
            let line = hawser
                .logged(words, |line| line.to_string().contains(words))
                .await;
            assert_eq!(field(&line, "level"), Some("WARN"), "{line}");
            assert!(line.to_string().contains("not ready until"), "{line}");
            assert!(!hawser.is_ready().await);
        }
    });
}
