//! What would be sent to Azure, and whether it would be granted: nothing is launched.

use std::collections::BTreeMap;

use anyhow::Context as _;
use azure::cloud::Audience;
use hub::api::words::LeaseRequest;
use launch::{
    LauncherSecret, LeaseId, Moment,
    node::WantedPeer,
    order::Order,
    place::{Description, Job, azure::Check},
    policy::Policy,
};
use serde_json::{Value, json};

use super::{Arguments, follow, wanted::Wanted};
use crate::{
    cloud::{AzureSettings, Secrets, variable},
    failure, output,
};

/// Says what was asked for.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (elsewhere, json) = (arguments.elsewhere.clone(), arguments.json);
    follow::check(&arguments, true)?;
    // It launches nothing, with DRY_RUN or without.
    let name = elsewhere.on.as_deref().unwrap_or_default();
    let settings = elsewhere.azure_called(name, arguments.target.docker.image.as_ref())?;
    let settings =
        settings.ok_or_else(|| failure::usage("name a place at Azure: --on azure-vm or --on azure-container"))?;
    let wanted = Wanted::new(arguments, Some(&settings))?;
    if elsewhere.azure.is_plan() {
        plan(settings.of_nobody(), wanted.request, json)
    } else {
        check(&settings, &wanted.request, json)
    }
}

/// The order, as a launcher would make it of the request.
fn order(request: LeaseRequest, description: Description) -> anyhow::Result<Order> {
    Order::new(&request.into(), &BTreeMap::new(), &[description], &Policy::own())
        .map_err(|invalid| failure::usage(invalid.to_string()))
}

fn plan(settings: AzureSettings, request: LeaseRequest, json: bool) -> anyhow::Result<()> {
    let (place, cloud) = (settings.open_for_plan()?, settings.cloud()?);
    let peers = request.peers.iter().map(|peer| WantedPeer {
        name: peer.name.clone(),
        public_key: peer.public_key,
    });
    let peers = peers.collect();
    let order = order(request, place.describe())?;
    let job = Job {
        // A lease that there is not.
        id: LeaseId::new(Moment::from_millis(0), 0),
        instance: "0".repeat(16),
        remaining: order.lifetime(),
        order,
        peers,
        refs: Value::Null,
    };
    for (at, request) in place.plan(&job).iter().enumerate() {
        let number = at + 1;
        if json {
            let line = json!({
                "number": number,
                "method": request.method.as_str(),
                "url": request.url(&cloud).as_str(),
                "if_match": request.if_match,
                "if_none_match": request.if_none_match,
                "body": request.shown_body(),
            });
            output::line(&line.to_string())?;
        } else {
            output::line(&format!("{number}. {}", request.plan(&cloud)))?;
        }
    }
    Ok(())
}

fn check(settings: &AzureSettings, request: &LeaseRequest, json: bool) -> anyhow::Result<()> {
    let place = settings.open(LauncherSecret::danger_known(), &Secrets::Of(&variable), &variable)?;
    let order = order(request.clone(), place.describe())?;
    let arm = settings.arm(&variable)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let is_fine = runtime.block_on(async {
        // Without one, every question would say the same.
        if let Err(error) = arm.tokens().token(Audience::Arm).await {
            let remedy = "sign in by `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET";
            show(
                "the credential",
                Err(("no_credential", &error.to_string(), remedy)),
                json,
            )?;
            return anyhow::Ok(false);
        }
        show("the credential", Ok("Azure has given a token"), json)?;
        let mut is_fine = true;
        for Check { name, result } in place.check(&order).await {
            let result = result.as_ref();
            is_fine &= result.is_ok();
            let result = result.map(String::as_str);
            show(
                &name,
                result.map_err(|fault| (&*fault.code, &*fault.message, &*fault.remedy)),
                json,
            )?;
        }
        Ok(is_fine)
    })?;
    if is_fine { Ok(()) } else { Err(failure::said()) }
}

/// Prints what was looked at: its detail, or code, message and remedy of what is in the way.
fn show(name: &str, result: Result<&str, (&str, &str, &str)>, json: bool) -> anyhow::Result<()> {
    let line = match (result, json) {
        (Ok(detail), true) => json!({ "check": name, "ok": true, "detail": detail }).to_string(),
        (Err((code, message, remedy)), true) => {
            json!({ "check": name, "ok": false, "code": code, "message": message, "remedy": remedy }).to_string()
        }
        (Ok(detail), false) => format!("✓ {name}: {detail}"),
        (Err((_, message, "")), false) => format!("✗ {name}: {message}"),
        (Err((_, message, remedy)), false) => format!("✗ {name}: {message}\n  {remedy}"),
    };
    output::line(&line)
}
