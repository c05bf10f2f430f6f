//! What sends, against netlab's Azure, which judges the form of what comes.

use azure::{
    Cloud, Credential,
    credential::{Choice, Settings, Way},
};
use launch::{Moment, launcher::Meters};
use netlab::serve::azure::{Azure, Fault, Refusal, Settings as Manners};
use tokio::task::JoinHandle;

use super::*;
use crate::config::{Config, Typed, TypedAzureMonitor};

/// Longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(20);

/// The pattern of what is posted.
const POST: &str = "POST **/metrics";

fn resource(azure: &Azure) -> String {
    format!(
        "/subscriptions/{}/resourceGroups/adit/providers/Microsoft.ContainerInstance/containerGroups/hub",
        azure.settings().subscription
    )
}

/// A sender to this Azure that waits for milliseconds only, and its queue.
fn start(azure: &Azure) -> (mpsc::Sender<Point>, JoinHandle<()>) {
    let manners = azure.settings();
    let settings = Settings {
        tenant: Some(manners.tenant.clone()),
        client: Some(manners.client.clone()),
        secret: Some(manners.secret.clone().into()),
        authority_host: Some(azure.url()),
        ..Settings::default()
    };
    let cloud = settings.in_cloud(Cloud::default()).unwrap();
    let credential = Credential::choose(Choice::Only(Way::ClientSecret), &settings).unwrap();
    let config = Config::new(Typed {
        azure_monitor: Some(TypedAzureMonitor {
            resource: Some(resource(azure)),
            region: Some("westeurope".to_owned()),
            endpoint: Some(azure.url()),
        }),
        ..Typed::default()
    });
    let config = config.unwrap().azure_monitor.unwrap();
    let monitor = Monitor::new(&config, &Arm::new(cloud, credential).unwrap()).unwrap();
    let pace = Pace {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(5),
    };
    let (queue, waiting) = mpsc::channel(WAITING);
    (queue, tokio::spawn(Sender::new(monitor, waiting, pace).run()))
}

/// The points of a moment so long ago.
fn minute(ago: Duration) -> Vec<Point> {
    let now = std::time::SystemTime::now() - ago;
    let reading = Reading::new(
        ["docker"].into_iter(),
        &[],
        &Meters::default(),
        Moment::from_system(now),
    );
    series::points(&Reading::default(), &reading)
}

/// Sends these, and waits until nothing waits any more.
async fn send(azure: &Azure, points: Vec<Point>) {
    let (queue, sender) = start(azure);
    for point in points {
        queue.send(point).await.unwrap();
    }
    drop(queue);
    tokio::time::timeout(LIMIT, sender).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_sent_once_whatever_azure_says_on_the_way() {
    let refused = |status, code: &str| Fault::Refused(Refusal::new(status, code, "so it is"));
    // (what happens to the first requests, how many of them, how many are sent for five points)
    for (fault, times, posts) in [
        (None, 0, 5),
        (Some(Fault::Refused(Refusal::throttled(0))), 3, 8),
        (Some(refused(503, "ServiceUnavailable")), 4, 9),
        (Some(refused(500, "InternalServerError")), 2, 7),
        // The role may come while the hub runs.
        (Some(refused(403, "Forbidden")), 3, 8),
        (Some(Fault::LostBefore), 1, 6),
    ] {
        let azure = Azure::start(Manners::default());
        if let Some(fault) = fault.clone() {
            azure.fail_times(POST, times, fault);
        }
        send(&azure, minute(Duration::ZERO)).await;
        let names: Vec<String> = azure
            .metrics()
            .iter()
            .map(|metric| metric["data"]["baseData"]["metric"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, METRICS.map(|(name, _)| name), "{fault:?}");
        assert_eq!(azure.count(POST), posts, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_azure_never_takes_is_dropped_and_holds_up_no_other() {
    let azure = Azure::start(Manners::default());
    azure.fail_next(POST, Fault::Refused(Refusal::new(400, "BadRequest", "so it is")));
    let mut points = minute(Duration::from_secs(21 * 60));
    points.extend(minute(Duration::ZERO));
    send(&azure, points).await;
    // Those of long ago are not even sent, and the first of the others is refused.
    assert_eq!((azure.count(POST), azure.metrics().len()), (5, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_is_needed_is_that_of_a_publisher_of_metrics_and_a_token_that_has_ended_is_renewed() {
    let azure = Azure::start(Manners::default());
    azure.permit(&resource(&azure), &["Microsoft.Insights/Metrics/Write"]);
    let (queue, sender) = start(&azure);
    for (taken, point) in minute(Duration::ZERO).into_iter().enumerate() {
        queue.send(point).await.unwrap();
        let comes = async {
            while azure.metrics().len() <= taken {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT, comes).await.unwrap();
        azure.expire_tokens();
    }
    drop(queue);
    sender.await.unwrap();
    assert_eq!((azure.tokens(), azure.count(POST)), (5, 9));
}
