# Runs in the stage whose whole root becomes the image's first layer: takes out what only a build needs.
set -eu
lib=/usr/lib/x86_64-linux-gnu
# settings of the machine that builds
rm -f /usr/local/share/build-ca.crt /etc/apt/apt.conf.d/99build
# package management: an image is replaced, never upgraded in place (dpkg's list stays: scanners read it)
rm -rf /var/lib/apt /var/cache/apt /usr/lib/apt /usr/bin/apt* /etc/apt /usr/share/keyrings $lib/libapt-*
# Perl: only package scripts run it
rm -rf /usr/bin/perl* /usr/share/perl* $lib/perl* $lib/libperl.so*
# character sets other than UTF-8, and the parts of ICU that libxml2 (hence libnbd) doesn't load
rm -rf $lib/gconv $lib/libicui18n.so* $lib/libicuio.so* $lib/libicutu.so* $lib/libicutest.so*
# documentation, translations, time zones (the Python package tzdata has them), traces of the build
rm -rf /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/zoneinfo \
  /usr/share/bug /usr/share/bash-completion /var/log/* /tmp/* /var/tmp/* /root/.cache
# parts of Python for people
rm -rf /usr/lib/python3.11/lib2to3 /usr/lib/python3.11/pydoc_data /usr/lib/python3.11/distutils /usr/lib/python3/dist-packages/lib2to3*
echo 'sendense:x:65532:65532:Sendense:/:/usr/sbin/nologin' >> /etc/passwd
echo 'sendense:x:65532:' >> /etc/group
# what is left must still load
for program in qemu-nbd qemu-img qemu-io nbdinfo nbdcopy; do $program --version > /dev/null; done
test -z "$(LD_PRELOAD=libjemalloc.so.2 qemu-nbd --version 2>&1 > /dev/null)"
python3 -c 'import nbd, ssl, sqlite3, uuid'
