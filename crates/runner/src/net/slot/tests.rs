//! Needs root. Each test works in a network namespace of its own, as if that were the host.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

/// Runs `test` on a thread whose network is new and empty but for the gateway on the loopback interface.
fn in_own_network(test: impl FnOnce(&mut Netlink) + Send + 'static) {
    thread::spawn(move || {
        enter_new_network().unwrap();
        let mut netlink = Netlink::open().unwrap();
        let loopback = netlink.link("lo").unwrap().index;
        netlink.link_set_up(loopback).unwrap();
        netlink
            .address_add(loopback, plan().gateway, 32, None)
            .unwrap();
        test(&mut netlink);
    })
    .join()
    .unwrap();
}

fn plan() -> SlotPlan {
    SlotPlan {
        index: SlotIndex(1),
        address: Ipv4Addr::new(10, 200, 0, 2),
        gateway: Ipv4Addr::new(10, 200, 0, 1),
        host_interface: "alctest-1".to_owned(),
        mtu: 1400,
    }
}

fn wait_until_only_loopback_is_left(netlink: &mut Netlink) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<_> = netlink
            .links()
            .unwrap()
            .into_iter()
            .filter(|link| link.name != "lo")
            .collect();
        let routes = netlink
            .routes()
            .unwrap()
            .into_iter()
            .filter(|route| route.is_main)
            .count();
        if left.is_empty() && routes == 0 {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {left:?}, {routes} routes"
        );
        thread::yield_now();
    }
}

#[test]
fn a_slot_has_one_address_a_default_route_and_no_ipv6() {
    in_own_network(|host| {
        let slot = make(plan()).unwrap();
        assert_eq!(host.link("alctest-1").unwrap().mtu, 1400);
        let inside = thread::spawn(move || {
            rustix::thread::move_into_link_name_space(
                slot.netns.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .unwrap();
            let mut netlink = Netlink::open().unwrap();
            let link = netlink.link("eth0").unwrap();
            assert_eq!(link.mtu, 1400);
            let addresses = netlink.addresses().unwrap();
            let own: Vec<_> = addresses
                .iter()
                .filter(|address| address.interface == link.index)
                .collect();
            assert_eq!(
                (own.len(), own[0].address, own[0].prefix_len),
                (1, plan().address, 32)
            );
            assert!(
                netlink
                    .routes()
                    .unwrap()
                    .iter()
                    .any(|route| route.prefix_len == 0)
            );
            let read = |path: &str| fs::read_to_string(path).unwrap().trim().to_owned();
            assert_eq!(read("/proc/sys/net/ipv4/ip_unprivileged_port_start"), "0");
            assert_eq!(read("/proc/sys/net/ipv4/ping_group_range"), "0\t2147483647");
            assert_eq!(
                fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default(),
                ""
            );
        });
        inside.join().unwrap();
        wait_until_only_loopback_is_left(host);
    });
}

#[test]
fn a_failure_of_any_step_is_named_and_leaves_nothing_behind() {
    in_own_network(|host| {
        for failing in SlotStep::ALL {
            let error = make_with(plan(), &mut |step| {
                if step == failing {
                    Err(io::Error::other("injected"))
                } else {
                    Ok(())
                }
            })
            .unwrap_err();
            assert!(
                matches!(error, SlotError::Step { step, .. } if step == failing),
                "{error:?}"
            );
            wait_until_only_loopback_is_left(host);
        }
        drop(make(plan()).unwrap());
        wait_until_only_loopback_is_left(host);
    });
}

#[test]
fn running_out_of_something_has_its_own_word() {
    let at = |step, errno: Errno| SlotError::at(step, errno.into()).fault_code();
    assert_eq!(at(SlotStep::Cable, Errno::NOMEM), FaultCode::HostMemoryFull);
    assert_eq!(
        at(SlotStep::Cable, Errno::NOBUFS),
        FaultCode::HostMemoryFull
    );
    assert_eq!(
        at(SlotStep::Namespace, Errno::AGAIN),
        FaultCode::HostPidsFull
    );
    assert_eq!(
        at(SlotStep::Namespace, Errno::NOSPC),
        FaultCode::NetworkSlotsFull
    );
    assert_eq!(at(SlotStep::HostRoute, Errno::EXIST), FaultCode::Internal);
}
