# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a definition holds that is not for everybody who sees a snapshot."""
import libvirt

import domains

SECURE = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE


def test_graphics_password(vmsnap, blank, images):
    """It is neither stored nor kept on the host, and the definition still has it after the merge."""
    image = domains.make_image(images / "guarded.qcow2", "qcow2", 4 << 20, 1)
    more = "<graphics type='vnc' port='5999' listen='127.0.0.1' passwd='sesame88'/>"
    domain = blank("guarded", [domains.disk("vda", image)], start=False, more=more)
    assert "sesame88" in domain.XMLDesc(SECURE)
    vmsnap.create("guarded")
    place = images / "place"
    place.mkdir()
    vmsnap.run("export", "guarded", "--format=qcow2", "--to", place)
    files = [path for top in (place, vmsnap.state) for path in top.rglob("*") if path.is_file()]
    assert any(path.name == "domain.xml" for path in files)
    assert [path for path in files if b"sesame88" in path.read_bytes()] == []
    assert domains.sources(domain) == {"vda": str(image)} and "sesame88" in domain.XMLDesc(SECURE)
