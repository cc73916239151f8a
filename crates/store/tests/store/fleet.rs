use alcove_domain::{
    Capabilities, Capability, Capacity, CustomRegion, ManagerLogin, RegionUrls, Runner,
    RunnerAddress, RunnerId, ServiceKeyHash,
};
use alcove_store::StoreError;
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_runner_is_kept_as_it_is,
    a_region_has_one_runner_of_a_name_and_a_key_opens_one,
    the_server_has_one_runner_of_its_own,
    a_region_is_kept_as_it_is,
    an_organization_has_one_region_of_a_name,
    regions_and_runners_go_with_their_organization,
}

fn runner(number: u128) -> Runner {
    Runner {
        id: RunnerId::from_uuid(Uuid::from_u128(number)),
        region: "lab_abcd".to_owned(),
        organization_id: Some(org()),
        name: format!("rack-{number}"),
        is_built_in: false,
        key: Some(ServiceKeyHash([u8::try_from(number).unwrap(); 32])),
        tags: vec!["ssd".to_owned()],
        address: RunnerAddress {
            domain: Some("rack.lab".to_owned()),
            api_url: Some("http://rack.lab".to_owned()),
            proxy_url: None,
        },
        is_unschedulable: true,
        is_draining: false,
        is_decommissioned: false,
        capacity: Capacity {
            cpu_millis: 16_000,
            memory_mib: 65_536,
            disk_mib: 1 << 20,
            gpu: 2,
        },
        gpu_type: Some("H100".to_owned()),
        capabilities: Some(Capabilities {
            architecture: "x86_64".to_owned(),
            can: [Capability::Pause, Capability::NetworkPolicies].into(),
        }),
        app_version: Some("1".to_owned()),
        fault: Some("disk: full".to_owned()),
        instance: Some("folder".to_owned()),
        heard_at: Some(at(3)),
        created_at: at(1),
        updated_at: at(2),
    }
}

fn region(id: &str, name: &str) -> CustomRegion {
    CustomRegion {
        id: id.parse().unwrap(),
        organization_id: org(),
        name: name.to_owned(),
        urls: RegionUrls {
            proxy: Some("https://p.lab".to_owned()),
            ssh_gateway: None,
            snapshot_manager: Some("https://i.lab".to_owned()),
        },
        proxy_key: Some(ServiceKeyHash([1; 32])),
        ssh_gateway_key: None,
        snapshot_manager: Some(ManagerLogin {
            username: "lab_abcd".to_owned(),
            password: ServiceKeyHash([2; 32]),
        }),
        created_at: at(1),
        updated_at: at(2),
    }
}

async fn a_runner_is_kept_as_it_is(place: Place) {
    let store = place.open().await;
    let first = runner(1);
    let plain = Runner {
        organization_id: None,
        key: None,
        tags: Vec::new(),
        address: RunnerAddress::default(),
        gpu_type: None,
        capabilities: None,
        app_version: None,
        fault: None,
        instance: None,
        heard_at: None,
        created_at: at(9),
        ..runner(2)
    };
    let tx = store.begin().await.unwrap();
    tx.runner_insert(&plain).await.unwrap();
    tx.runner_insert(&first).await.unwrap();
    tx.commit().await.unwrap();
    let all = async || store.reader().runner_list_all().await.unwrap();
    assert_eq!(all().await, [first.clone(), plain.clone()]);
    let drained = Runner {
        is_draining: true,
        is_decommissioned: true,
        ..first.clone()
    };
    let tx = store.begin().await.unwrap();
    assert!(tx.runner_update(&drained).await.unwrap());
    assert!(!tx.runner_update(&runner(3)).await.unwrap());
    assert!(tx.runner_delete(&plain.id).await.unwrap());
    assert!(!tx.runner_delete(&plain.id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(all().await, [drained]);
}

async fn a_region_has_one_runner_of_a_name_and_a_key_opens_one(place: Place) {
    let store = place.open().await;
    let first = runner(1);
    let tx = store.begin().await.unwrap();
    tx.runner_insert(&first).await.unwrap();
    let elsewhere = Runner {
        region: "other".to_owned(),
        name: first.name.clone(),
        ..runner(2)
    };
    tx.runner_insert(&elsewhere).await.unwrap();
    tx.commit().await.unwrap();
    for twin in [
        Runner {
            name: first.name.clone(),
            ..runner(3)
        },
        Runner {
            key: first.key,
            ..runner(3)
        },
    ] {
        let tx = store.begin().await.unwrap();
        let taken = tx.runner_insert(&twin).await;
        assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
    }
}

async fn the_server_has_one_runner_of_its_own(place: Place) {
    let store = place.open().await;
    let own = |number| Runner {
        is_built_in: true,
        key: None,
        ..runner(number)
    };
    let tx = store.begin().await.unwrap();
    tx.runner_insert(&own(1)).await.unwrap();
    tx.runner_insert(&runner(2)).await.unwrap();
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    assert!(tx.runner_insert(&own(3)).await.is_err());
}

async fn a_region_is_kept_as_it_is(place: Place) {
    let store = place.open().await;
    let full = region("lab_abcd", "lab");
    let plain = CustomRegion {
        urls: RegionUrls::default(),
        proxy_key: None,
        snapshot_manager: None,
        created_at: at(9),
        ..region("other_abcd", "other")
    };
    let tx = store.begin().await.unwrap();
    tx.region_insert(&plain).await.unwrap();
    tx.region_insert(&full).await.unwrap();
    tx.commit().await.unwrap();
    let all = async || store.reader().region_list_all().await.unwrap();
    assert_eq!(all().await, [full.clone(), plain.clone()]);
    let moved = CustomRegion {
        ssh_gateway_key: Some(ServiceKeyHash([3; 32])),
        updated_at: at(7),
        ..full.clone()
    };
    let tx = store.begin().await.unwrap();
    assert!(tx.region_update(&moved).await.unwrap());
    assert!(!tx.region_update(&region("none", "none")).await.unwrap());
    assert!(tx.region_delete(&plain.id).await.unwrap());
    assert!(!tx.region_delete(&plain.id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(all().await, [moved]);
}

async fn an_organization_has_one_region_of_a_name(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    tx.region_insert(&region("a", "lab")).await.unwrap();
    let elsewhere = CustomRegion {
        organization_id: "elsewhere".parse().unwrap(),
        ..region("b", "lab")
    };
    tx.region_insert(&elsewhere).await.unwrap();
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    let taken = tx.region_insert(&region("c", "lab")).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
}

async fn regions_and_runners_go_with_their_organization(place: Place) {
    let store = place.open().await;
    let own = Runner {
        organization_id: None,
        region: "us".to_owned(),
        is_built_in: true,
        key: None,
        ..runner(2)
    };
    let tx = store.begin().await.unwrap();
    tx.region_insert(&region("lab_abcd", "lab")).await.unwrap();
    tx.runner_insert(&runner(1)).await.unwrap();
    tx.runner_insert(&own).await.unwrap();
    tx.organization_empty(&org()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.reader().region_list_all().await.unwrap(), []);
    assert_eq!(store.reader().runner_list_all().await.unwrap(), [own]);
}
