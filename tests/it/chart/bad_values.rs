//! Values that cannot be right are refused, and the message names the key.

use rstest::rstest;

use super::helm::try_render;

#[rstest]
#[case::kind("kind=StatefulSet", &["/kind", "Deployment"])]
#[case::type_of_service("service.type=External", &["/service/type", "LoadBalancer"])]
#[case::port("listen.http=70000", &["/listen/http", "65,535"])]
#[case::port_as_word("service.httpPort=http", &["/service/httpPort", "integer"])]
#[case::duration("drain.window=1 minute", &["/drain/window"])]
#[case::plain_number_for_a_duration("drain.window=60", &["/drain/window", "string"])]
#[case::too_long_a_duration("drain.window=1h1m1s1ms1s", &["/drain/window"])]
#[case::relist_guard("relistGuard=soon", &["/relistGuard"])]
#[case::no_delay("drain.delay=soon", &["/drain/delay"])]
#[case::a_sleep_before_the_signal("drain.preStop=10s", &["/drain", "preStop"])]
#[case::too_short_a_grace("terminationGracePeriodSeconds=80", &["terminationGracePeriodSeconds", "80 s", "null"])]
#[case::digest("image.digest=0123", &["/image/digest"])]
#[case::pull_policy("image.pullPolicy=Sometimes", &["/image/pullPolicy", "IfNotPresent"])]
#[case::controller_without_slash("ingressClass.controllerValue=hawser", &["/ingressClass/controllerValue"])]
#[case::class_without_name("ingressClass.name=", &["/ingressClass/name"])]
#[case::namespace("watchNamespaces[0]=Team_A", &["/watchNamespaces/0"])]
#[case::namespace_twice("watchNamespaces={a,a}", &["/watchNamespaces"])]
#[case::source_range("service.loadBalancerSourceRanges[0]=anywhere", &["/service/loadBalancerSourceRanges/0"])]
#[case::nothing_to_publish("service.enabled=false", &["publishService.name", "service.enabled"])]
#[case::scaling_on_nothing("autoscaling.enabled=true,autoscaling.connections=null", &["autoscaling.connections", "autoscaling.cpu"])]
#[case::scaling_upside_down("autoscaling.enabled=true,autoscaling.maxReplicas=1", &["autoscaling.maxReplicas", "autoscaling.minReplicas"])]
#[case::scaling_a_daemon_set("autoscaling.enabled=true,kind=DaemonSet", &["autoscaling.enabled", "DaemonSet"])]
#[case::monitor_without_service("metrics.serviceMonitor.enabled=true,peers.enabled=false", &["metrics.serviceMonitor.enabled", "metrics.podMonitor"])]
#[case::argument("extraArgs[0]=run", &["/extraArgs/0"])]
#[case::yaml_1_1_word("peers.enabled=off", &["/peers/enabled", "boolean"])]
fn a_bad_value_is_refused_by_name(#[case] set: &str, #[case] words: &[&str]) {
    let error = try_render(&["--set", set]).expect_err(set);
    for word in words {
        assert!(error.contains(word), "{set} should say {word:?}: {error}");
    }
}

#[test]
fn an_older_kubernetes_is_refused() {
    let error = try_render(&["--kube-version", "1.30.9"]).expect_err("1.30");
    assert!(error.contains(">=1.31"), "{error}");
}
