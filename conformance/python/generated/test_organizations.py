"""Organizations, their members, roles and invitations, which take two people: the administrator and one that is made here."""

import contextlib

import pytest
from conftest import Client, told
from daytona_api_client.exceptions import ApiException

ORGANIZATION = "/organizations/{}"


@pytest.fixture
def ann(unique):
    """Somebody whose address is known to be hers; users stay."""
    body = {"id": unique, "name": "Ann", "email": f"{unique}@example.com", "emailVerified": True, "withApiKey": True}
    return Client(told("POST", "/admin/users", body)["apiKey"])


def key_for(lab, somebody, name, permissions):
    """A key is for one organization: who joined makes one for it."""
    body = {"name": name, "permissions": permissions, "organizationId": lab.id}
    return Client(told("POST", "/api-keys", body, key=somebody.key)["value"])


def everything():
    """What the operator's own key may, which is all there is."""
    return told("GET", "/api-keys/current")["permissions"]


@pytest.fixture
def lab(client, unique):
    """An organization that the administrator makes and owns, with a client that acts for it."""
    body = {"name": unique, "defaultRegionId": told("GET", "/shared-regions")[0]["id"]}
    made = client.ask("POST /organizations", body)
    owner = key_for(made, client, unique, everything())
    yield made, owner
    with contextlib.suppress(ApiException):
        owner.ask(f"DELETE {ORGANIZATION}", made.id)


def invited(lab, owner, email, **more):
    body = {"email": email, "role": "member", "assignedRoleIds": [], **more}
    return owner.ask(f"POST {ORGANIZATION}/invitations", lab.id, body)


def test_who_is_invited_becomes_a_member_and_goes(lab, ann):
    lab, owner = lab
    me = ann.ask("GET /users/me")
    made = invited(lab, owner, me.email)
    assert (made.organization_id, made.email, made.status) == (lab.id, me.email, "pending")
    body = {"role": "member", "assignedRoleIds": [], "expiresAt": "2100-01-01T00:00:00Z"}
    changed = owner.ask(f"PUT {ORGANIZATION}/invitations/{{}}", lab.id, made.id, body)
    assert changed is None or changed.expires_at.year == 2100
    assert [pending.id for pending in owner.ask(f"GET {ORGANIZATION}/invitations", lab.id)] == [made.id]

    assert [own.id for own in ann.ask("GET /organizations/invitations")] == [made.id]
    assert ann.ask("GET /organizations/invitations/count") == 1
    ann.ask("POST /organizations/invitations/{}/accept", made.id)
    assert ann.ask("GET /organizations/invitations/count") == 0
    there = key_for(lab, ann, "lab", [])
    assert [organization.id for organization in there.ask("GET /organizations")] == [lab.id]

    role = {"name": "Readers", "description": "look", "permissions": ["read:volumes"]}
    role = owner.ask(f"POST {ORGANIZATION}/roles", lab.id, role)
    changed = {"name": "Writers", "description": "write", "permissions": ["write:volumes"]}
    changed = owner.ask(f"PUT {ORGANIZATION}/roles/{{}}", lab.id, role.id, changed)
    assert (changed.id, changed.name, changed.permissions) == (role.id, "Writers", ["write:volumes"])
    access = {"role": "member", "assignedRoleIds": [role.id]}
    member = owner.ask(f"POST {ORGANIZATION}/users/{{}}/access", lab.id, me.id, access)
    assert [given.id for given in member.assigned_roles] == [role.id]
    assert {member.user_id for member in owner.ask(f"GET {ORGANIZATION}/users", lab.id)} > {me.id}

    owner.ask(f"DELETE {ORGANIZATION}/users/{{}}", lab.id, me.id)
    with pytest.raises(ApiException) as refused:
        there.ask("GET /organizations")
    assert refused.value.status == 401
    owner.ask(f"DELETE {ORGANIZATION}/roles/{{}}", lab.id, role.id)
    # Those that come with the server stay.
    left = {role.name for role in owner.ask(f"GET {ORGANIZATION}/roles", lab.id)}
    assert "Developer" in left and "Writers" not in left


def test_an_invitation_is_declined_and_another_taken_back(lab, ann):
    lab, owner = lab
    email = ann.ask("GET /users/me").email
    ann.ask("POST /organizations/invitations/{}/decline", invited(lab, owner, email).id)
    owner.ask(f"POST {ORGANIZATION}/invitations/{{}}/cancel", lab.id, invited(lab, owner, email).id)
    assert owner.ask(f"GET {ORGANIZATION}/invitations", lab.id) == []
    assert ann.ask("GET /organizations/invitations") == []


def test_one_who_joined_leaves(lab, ann):
    lab, owner = lab
    me = ann.ask("GET /users/me")
    ann.ask("POST /organizations/invitations/{}/accept", invited(lab, owner, me.email).id)
    narrow = key_for(lab, ann, "narrow", [])
    with pytest.raises(ApiException) as refused:
        narrow.ask(f"POST {ORGANIZATION}/leave", lab.id)
    assert refused.value.status == 403
    # A key to all of her takes every right, as owners have.
    access = {"role": "owner", "assignedRoleIds": []}
    owner.ask(f"POST {ORGANIZATION}/users/{{}}/access", lab.id, me.id, access)
    key_for(lab, ann, "whole", everything()).ask(f"POST {ORGANIZATION}/leave", lab.id)
    assert me.id not in [member.user_id for member in owner.ask(f"GET {ORGANIZATION}/users", lab.id)]


def test_what_the_administrator_decides_for_an_organization(client, lab):
    lab, owner = lab
    region = told("GET", "/shared-regions")[0]["id"]
    assert owner.ask(f"GET {ORGANIZATION}", lab.id).id == lab.id
    owner.ask(f"GET {ORGANIZATION}/usage", lab.id)
    owner.ask(f"GET {ORGANIZATION}/available-sandbox-classes", lab.id)
    if owner.has(f"PATCH {ORGANIZATION}/default-region"):
        # It is set once, here by the making.
        with pytest.raises(ApiException) as refused:
            owner.ask(f"PATCH {ORGANIZATION}/default-region", lab.id, {"defaultRegionId": region})
        assert refused.value.status == 409
    suspension = {"reason": "late", "until": "2100-01-01T00:00:00Z", "suspensionCleanupGracePeriodHours": 24}
    client.ask(f"POST {ORGANIZATION}/suspend", lab.id, suspension)
    if client.has(f"POST {ORGANIZATION}/suspend"):
        found = owner.ask(f"GET {ORGANIZATION}", lab.id)
        assert (found.suspended, found.suspension_reason) == (True, "late")
    client.ask(f"POST {ORGANIZATION}/unsuspend", lab.id)
    assert not owner.ask(f"GET {ORGANIZATION}", lab.id).suspended
    # Kept, and given to sandboxes of then on.
    body = {"sandboxDefaultLimitedNetworkEgress": True}
    client.ask(f"POST {ORGANIZATION}/sandbox-default-limited-network-egress", lab.id, body)
    owner.ask(f"DELETE {ORGANIZATION}", lab.id)
    with pytest.raises(ApiException) as refused:
        owner.ask(f"GET {ORGANIZATION}", lab.id)
    assert refused.value.status == 401


def test_limits_of_an_organization_are_made_changed_and_taken_away(client, lab):
    lab, owner = lab
    region, kind = told("GET", "/shared-regions")[0]["id"], "container"
    numbers = {"totalCpuQuota": 2, "totalMemoryQuota": 4, "totalDiskQuota": 8, "totalGpuQuota": 0}
    quota = "/admin/organizations/{}/quota/{}"
    client.ask(f"POST {quota}", lab.id, region, {**numbers, "sandboxClass": kind})
    client.ask(f"PATCH {quota}", lab.id, region, {**numbers, "totalCpuQuota": 3, "sandboxClass": kind})
    found = client.ask(f"GET {quota}/{{}}", lab.id, region, kind)
    assert found is None or found.total_cpu_quota == 3
    client.ask(f"DELETE {quota}/{{}}", lab.id, region, kind)
    client.ask("PATCH /organizations/{}/quota", lab.id, {"volumeQuota": 5})
    client.ask("PATCH /organizations/{}/quota/{}", lab.id, region, {"totalCpuQuota": 4})
    usage = owner.ask(f"GET {ORGANIZATION}/usage", lab.id)
    assert usage.total_volume_quota == 5 or not client.has("PATCH /organizations/{}/quota")


def test_webhooks_of_an_organization(client, lab, unique):
    lab, owner = lab
    hooks = "/webhooks/organizations/{}"
    owner.ask(f"POST {hooks}/initialize", lab.id)
    assert owner.ask(f"GET {hooks}/initialization-status", lab.id).organization_id == lab.id
    assert owner.ask(f"POST {hooks}/app-portal-access", lab.id).url
    owner.ask(f"POST {hooks}/refresh-endpoints", lab.id)
    # A name that nobody has: what is sent has one who is to hear of it.
    told("POST", f"/webhooks/organizations/{lab.id}/endpoints", {"url": "https://hooks.invalid/"}, key=owner.key)
    message = {"eventType": "volume.created", "payload": {"id": "v"}, "eventId": f"evt_{unique}"}
    for somebody, place in ((owner, hooks), (client, f"/admin{hooks}")):
        somebody.ask(f"POST {place}/send", lab.id, message)
        somebody.ask(f"GET {place}/messages/{{}}/attempts", lab.id, message["eventId"])
    client.ask(f"POST /admin{hooks}/initialize", lab.id)
    client.ask("GET /webhooks/status")
    client.ask("GET /admin/webhooks/status")


def test_users_as_the_administrator_sees_them(client, ann):
    me = ann.ask("GET /users/me")
    for users in ("/users", "/admin/users"):
        client.ask(f"GET {users}")
        found = client.ask(f"GET {users}/{{}}", me.id)
        assert found is None or found.email == me.email
        made = {"id": f"{me.id}-{users.count('/')}", "name": "Bob"}
        client.ask(f"POST {users}", made)
        # There are no key pairs of users here.
        if client.has(f"POST {users}/{{}}/regenerate-key-pair"):
            with pytest.raises(ApiException) as refused:
                client.ask(f"POST {users}/{{}}/regenerate-key-pair", me.id)
            assert refused.value.status == 422
        if ann.has(f"GET {users}"):
            with pytest.raises(ApiException) as refused:
                ann.ask(f"GET {users}")
            assert refused.value.status == 403
