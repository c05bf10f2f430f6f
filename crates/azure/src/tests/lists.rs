//! Lists over several pages.

use super::*;
use crate::location;

fn page(items: &[&str], next: Option<&str>) -> Play {
    let items: Vec<_> = items
        .iter()
        .map(|name| json!({"name": name, "displayName": name.to_uppercase()}))
        .collect();
    let mut page = json!({ "value": items });
    if let Some(next) = next {
        page["nextLink"] = next.into();
    }
    reply(200).json(page).into()
}

#[tokio::test]
async fn every_page_of_a_list_is_fetched() {
    let (arm, server, _) = arm(|asked| {
        let next = format!(
            "http://{}{}",
            asked.header("host").unwrap(),
            "/subscriptions/s/locations?api-version=1&$skiptoken=2"
        );
        if asked.target.contains("skiptoken") {
            page(&["c"], None)
        } else {
            page(&["a", "b"], Some(&next))
        }
    })
    .await;
    let regions = location::list(&arm, &location::request("s").unwrap()).await.unwrap();
    let names: Vec<(&str, &str)> = regions
        .iter()
        .map(|region| (region.name.as_str(), region.title.as_str()))
        .collect();
    assert_eq!(names, [("a", "A"), ("b", "B"), ("c", "C")]);
    assert_eq!(
        server.asked()[2].target,
        "/subscriptions/s/locations?api-version=1&$skiptoken=2"
    );
}

#[tokio::test]
async fn what_is_no_place_is_left_out_of_the_regions() {
    let (arm, _server, _) = arm(|_| {
        let regions = json!([
            {"name": "westeurope", "metadata": {"regionType": "Physical"}},
            {"name": "europe", "metadata": {"regionType": "Logical"}},
        ]);
        reply(200).json(json!({ "value": regions })).into()
    })
    .await;
    let regions = location::list(&arm, &location::request("s").unwrap()).await.unwrap();
    assert_eq!(
        regions.iter().map(|region| region.name.as_str()).collect::<Vec<_>>(),
        ["westeurope"]
    );
    assert!(location::request("..").is_err());
}

#[tokio::test]
async fn a_part_of_a_list_is_never_given_for_the_whole() {
    let other = Server::start(|_| page(&["z"], None)).await;
    let foreign = other.address.clone();
    // (what is wrong, what the error says)
    for (wrong, says) in [
        ("foreign", "another host"),
        ("endless", "no end"),
        ("no list", "no items"),
        ("broken", "no JSON"),
    ] {
        let foreign = foreign.clone();
        let (arm, server, _) = arm(move |asked| match wrong {
            "foreign" => page(&["a"], Some(&foreign)),
            "endless" => page(&["a"], Some(&format!("http://{}/again", asked.header("host").unwrap()))),
            "no list" => reply(200).json(json!({"items": []})).into(),
            _ => reply(200).text("{\"value\": [").into(),
        })
        .await;
        let error = arm.list(&machine(Method::Get)).await.unwrap_err();
        assert!(error.to_string().contains(says), "{wrong}: {error}");
        assert!(server.lines().len() <= 2);
    }
    assert_eq!(other.asked().len(), 0);
}
