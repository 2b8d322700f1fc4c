//! F6, and rights in single namespaces: what Hawser may not see is named, the rest goes on.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::{answers, apply, delete, here, own_plane, page, plane, start, status, warnings};
use crate::kit::{
    control_plane::ControlPlane,
    eventually,
    hawser::{Hawser, field},
    manifest, origin, within,
};

/// Rights are looked at when a watch begins, each minute; then Hawser tries every 5 s, later every 30 s; a token
/// file is read anew each minute.
const MINUTES: Duration = Duration::from_secs(150);

/// What the chart asks for, as far as it is about what is watched.
const RULES: &str = "
- {apiGroups: [hawser.dev], resources: [websocketroutes], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
";
const SERVICES: &str = "- {apiGroups: [\"\"], resources: [services], verbs: [list, watch]}\n";
const CLASSES: &str =
    "- {apiGroups: [networking.k8s.io], resources: [ingressclasses], verbs: [list, watch]}\n";

/// A `ClusterRole` with these rules for a ServiceAccount.
fn cluster_role(namespace: &str, rules: &[&str]) -> String {
    let rules = rules.concat();
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {namespace}}}\nrules:\n{rules}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}}}\n\
         subjects: [{{kind: ServiceAccount, name: hawser, namespace: {namespace}}}]\n---\n"
    )
}

/// A Role with these rules for the ServiceAccount of another namespace.
fn role(account: &str, rules: &[&str]) -> String {
    let rules = rules.concat();
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: hawser}}\nrules:\n{rules}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: hawser}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: hawser}}\n\
         subjects: [{{kind: ServiceAccount, name: hawser, namespace: {account}}}]\n---\n"
    )
}

/// A kubeconfig with a token file for the ServiceAccount `hawser`, and that file.
async fn with_token_file(plane: &ControlPlane, namespace: &str) -> (PathBuf, PathBuf) {
    let kubeconfig = plane.kubeconfig_with(&plane.url(), namespace, "INLINE");
    let file = plane.folder().join(format!("{namespace}.token"));
    let text = fs::read_to_string(&kubeconfig).expect("a kubeconfig");
    let named = format!("tokenFile: {}", file.display());
    fs::write(&kubeconfig, text.replace("token: INLINE", &named)).expect("written");
    let token = plane.token(namespace, "hawser", "").await;
    fs::write(&file, token).expect("written");
    (kubeconfig, file)
}

/// Waits for a warning with all these words.
async fn warned(hawser: &Hawser, from: usize, words: &[&str]) -> String {
    within(MINUTES, &format!("a warning with {words:?}"), async || {
        let warnings = warnings(hawser, from);
        warnings
            .into_iter()
            .find(|line| words.iter().all(|word| line.contains(word)))
    })
    .await
}

#[test]
fn rights_that_are_taken_away_are_named_and_serving_goes_on() {
    // Sees what other tests of this control plane have, too: its paths are its own.
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("revoked").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr])
            + &page("revoked-first")
            + &cluster_role(&namespace, &[RULES, SERVICES, CLASSES]);
        apply(&plane, &namespace, &yaml);
        let (kubeconfig, _) = with_token_file(&plane, &namespace).await;
        let hawser = start(&plane, &kubeconfig, &[]).await;
        hawser.ready().await;
        answers(&hawser, "revoked-first", 200).await;

        let lines = hawser.log().len();
        apply(
            &plane,
            &namespace,
            &cluster_role(&namespace, &[RULES, CLASSES]),
        );
        let words = [
            "no permission to",
            "services in all namespaces",
            "what is live stays",
        ];
        warned(&hawser, lines, &words).await;
        assert!(hawser.is_ready().await);
        // Other kinds go on, with the Service as it was last seen.
        apply(&plane, &namespace, &page("revoked-second"));
        answers(&hawser, "revoked-second", 200).await;
        answers(&hawser, "revoked-first", 200).await;

        let renamed = manifest::service("later", &[http.addr])
            + &manifest::route("later", "pages.test", "/revoked-later", "later", "");
        apply(&plane, &namespace, &renamed);
        answers(&hawser, "revoked-later", 500).await;
        apply(
            &plane,
            &namespace,
            &cluster_role(&namespace, &[RULES, SERVICES, CLASSES]),
        );
        within(MINUTES, "the Service is seen", async || {
            (status(&hawser, "revoked-later").await? == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn a_token_that_is_no_longer_valid_is_read_anew() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("token").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr])
            + &page("token-first")
            + &cluster_role(&namespace, &[RULES, SERVICES, CLASSES]);
        apply(&plane, &namespace, &yaml);
        let (kubeconfig, file) = with_token_file(&plane, &namespace).await;
        let hawser = start(&plane, &kubeconfig, &[]).await;
        hawser.ready().await;
        answers(&hawser, "token-first", 200).await;

        // Tokens end with their account.
        let lines = hawser.log().len();
        delete(&plane, &namespace, "serviceaccount/hawser");
        let words = [
            "refuses the credentials (401 Unauthorized)",
            "what is live stays",
        ];
        warned(&hawser, lines, &words).await;
        apply(&plane, &namespace, &page("token-second"));
        answers(&hawser, "token-first", 200).await;
        assert!(hawser.is_ready().await);

        let token = plane.token(&namespace, "hawser", "").await;
        fs::write(&file, token).expect("written");
        within(MINUTES, "the new token is used", async || {
            (status(&hawser, "token-second").await? == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn a_token_that_expires_is_read_anew() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("expiry").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr])
            + &page("expiry-first")
            + &cluster_role(&namespace, &[RULES, SERVICES, CLASSES]);
        apply(&plane, &namespace, &yaml);
        let (kubeconfig, file) = with_token_file(&plane, &namespace).await;
        // The API server grants a minute more.
        let until = SystemTime::now() - Duration::from_secs(30);
        let short = plane.token_until(&namespace, "hawser", until).await;
        fs::write(&file, short).expect("written");
        let hawser = start(&plane, &kubeconfig, &[]).await;
        hawser.ready().await;
        answers(&hawser, "expiry-first", 200).await;

        let words = [
            "refuses the credentials (401 Unauthorized)",
            "what is live stays",
        ];
        warned(&hawser, 0, &words).await;
        assert!(hawser.is_ready().await);
        answers(&hawser, "expiry-first", 200).await;
        let token = plane.token(&namespace, "hawser", "").await;
        fs::write(&file, token).expect("written");
        apply(&plane, &namespace, &page("expiry-second"));
        within(MINUTES, "the new token is used", async || {
            (status(&hawser, "expiry-second").await? == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn a_new_certificate_authority_is_believed_once_its_file_has_it() {
    let plane = own_plane();
    plane.run(async || {
        let namespace = plane.namespace("authority").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr])
            + &page("first")
            + &cluster_role(&namespace, &[RULES, SERVICES, CLASSES]);
        apply(&plane, &namespace, &yaml);
        let (kubeconfig, _) = with_token_file(&plane, &namespace).await;
        let authority = plane.folder().join("trusted.crt");
        fs::write(&authority, plane.ca()).expect("written");
        let text = fs::read_to_string(&kubeconfig).expect("a kubeconfig");
        let (before, rest) = text.split_once("certificate-authority-data: ").expect("it");
        let (_, after) = rest.split_once('}').expect("the end of the cluster");
        let named = format!("certificate-authority: {}", authority.display());
        fs::write(&kubeconfig, [before, &named, "}", after].concat()).expect("written");
        let hawser = start(&plane, &kubeconfig, &[]).await;
        hawser.ready().await;
        answers(&hawser, "first", 200).await;

        let lines = hawser.log().len();
        plane.rotate_authority().await;
        warned(&hawser, lines, &["certificate", "what is live stays"]).await;
        answers(&hawser, "first", 200).await;
        assert!(hawser.is_ready().await);
        fs::write(&authority, plane.ca()).expect("written");
        apply(&plane, &namespace, &page("second"));
        within(MINUTES, "the new authority is believed", async || {
            (status(&hawser, "second").await? == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn rights_in_namespaces_are_enough() {
    // Its own: the class is named, and there is no IngressClass that anybody could read.
    let plane = own_plane();
    plane.run(async || {
        let home = plane.namespace("home").await;
        let shop = plane.namespace("shop").await;
        let forbidden = plane.namespace("forbidden").await;
        let elsewhere = plane.namespace("elsewhere").await;
        let http = origin::http_on(here()).await;
        for namespace in [&shop, &forbidden, &elsewhere] {
            let path = format!("/{namespace}");
            let route = manifest::route("page", "pages.test", &path, "pages", "")
                .replace("spec:\n", "spec:\n  ingressClassName: hawser\n");
            let yaml = manifest::service("pages", &[http.addr]) + &route;
            apply(&plane, namespace, &yaml);
        }
        apply(&plane, &shop, &role(&home, &[RULES, SERVICES]));
        let (kubeconfig, _) = with_token_file(&plane, &home).await;
        let flags = [
            "--watch-namespace",
            &*shop,
            "--watch-namespace",
            &*forbidden,
        ];
        let hawser = start(&plane, &kubeconfig, &flags).await;
        hawser.ready().await;
        answers(&hawser, &shop, 200).await;
        assert_eq!(status(&hawser, &forbidden).await, Some(404));
        assert_eq!(status(&hawser, &elsewhere).await, Some(404));
        for words in [
            [
                "ingressclasses.networking.k8s.io",
                "(it is cluster-scoped)",
                "by --ingress-class alone",
            ],
            [
                "no permission to list",
                "services",
                &*format!("in the namespace {forbidden}"),
            ],
            [
                "no permission to list",
                "websocketroutes.hawser.dev",
                &*format!("in the namespace {forbidden}"),
            ],
        ] {
            warned(&hawser, 0, &words).await;
        }
        let all = warnings(&hawser, 0);
        // It is told what it means: 10 s are enough to know that it is no hiccup.
        let of_forbidden = all
            .iter()
            .filter(|line| line.contains("no permission") && line.contains(&*forbidden));
        assert!(of_forbidden.clone().count() > 0, "{all:#?}");
        for line in of_forbidden {
            let rest = "none as far as Hawser knows; everything else goes on";
            assert!(line.contains(rest), "{line}");
        }
        let of_shop = all
            .iter()
            .filter(|line| line.contains("no permission") && line.contains(&*shop));
        assert_eq!(of_shop.count(), 0, "{all:#?}");

        // Rights that come later are noticed.
        apply(&plane, &forbidden, &role(&home, &[RULES, SERVICES]));
        answers(&hawser, &forbidden, 200).await;
        let line = hawser
            .logged("it says so", |line| {
                field(line, "message") == Some("the kind can be watched now")
            })
            .await;
        assert_eq!(field(&line, "level"), Some("INFO"));
        eventually("the other is still served", async || {
            (status(&hawser, &shop).await? == 200).then_some(())
        })
        .await;
    });
}

/// One `RoleBinding` or rule that was forgotten is no empty namespace.
#[test]
fn a_right_that_is_missing_in_a_namespace_is_no_empty_table() {
    let plane = own_plane();
    plane.run(async || {
        let home = plane.namespace("home").await;
        let shop = plane.namespace("shop").await;
        let other = plane.namespace("other").await;
        let http = origin::http_on(here()).await;
        for namespace in [&shop, &other] {
            let path = format!("/{namespace}");
            let route = manifest::route("page", "pages.test", &path, "pages", "")
                .replace("spec:\n", "spec:\n  ingressClassName: hawser\n");
            let yaml = manifest::service("pages", &[http.addr]) + &route;
            apply(&plane, namespace, &yaml);
        }
        // The one sees everything but the Services of one namespace, the other one nothing of its only one.
        apply(&plane, &other, &role(&home, &[RULES, SERVICES]));
        apply(&plane, &shop, &role(&home, &[RULES]));
        let (kubeconfig, _) = with_token_file(&plane, &home).await;
        let both = ["--watch-namespace", &*shop, "--watch-namespace", &*other];
        let half = start(&plane, &kubeconfig, &both).await;
        let alone = plane.namespace("alone").await;
        let (kubeconfig, _) = with_token_file(&plane, &alone).await;
        let closed = start(&plane, &kubeconfig, &["--watch-namespace", &shop]).await;
        let within_shop = format!("in the namespace {shop}");
        let words = [
            "no permission to list services",
            &within_shop,
            "not ready until",
        ];
        for hawser in [&half, &closed] {
            warned(hawser, 0, &words).await;
            assert!(!hawser.is_ready().await);
        }
        let all = warnings(&half, 0);
        let named = all.iter().filter(|line| line.contains(&within_shop));
        let named: Vec<_> = named.filter(|line| !line.contains("services")).collect();
        assert_eq!(named, [""; 0], "only what is missing is named");

        apply(&plane, &shop, &role(&home, &[RULES, SERVICES]));
        within(MINUTES, "the right is noticed", async || {
            half.is_ready().await.then_some(())
        })
        .await;
        answers(&half, &shop, 200).await;
        answers(&half, &other, 200).await;
        assert!(!closed.is_ready().await);
    });
}
