# One image for every deployable, which differ in their command. "npm run image" makes what this copies, and runs it.
ARG BASE=docker.io/library/debian:bookworm-slim

# Debian lends its packages. The shell and tools that put the files together stay behind in this stage.
FROM ${BASE} AS files
RUN command -v nft setcap strip >/dev/null \
  || { apt-get update \
    && apt-get install --yes --no-install-recommends binutils libcap2-bin libstdc++6 nftables; }
COPY dist/image/ /made/
RUN set -eu; \
  install -D /made/node /image/usr/bin/node; \
  strip --strip-unneeded /image/usr/bin/node; \
  install -D "$(command -v nft)" /image/usr/sbin/nft; \
  install -D "$(command -v setpriv)" /image/usr/bin/setpriv; \
  # Libraries, and of each package that lends a file its licence and what tells a scanner its version.
  for program in /image/usr/bin/node /image/usr/sbin/nft /image/usr/bin/setpriv; do ldd "$program"; done \
    | sed -nE 's/^.*(=> |^\s*)(\/\S+) \(0x.*$/\2/p' | sort -u >/libraries; \
  while read -r file; do install -D "$file" "/image$file"; done </libraries; \
  mkdir -p /image/var/lib/dpkg/status.d; \
  for file in $(command -v nft) $(command -v setpriv) $(cat /libraries); do \
    dpkg --search "$file" "/usr$file" 2>/dev/null || true; \
  done | cut -d: -f1 | sort -u | while read -r package; do \
    dpkg-query --status "$package" >"/image/var/lib/dpkg/status.d/$package"; \
    install -D -m 0644 "/usr/share/doc/$package/copyright" "/image/usr/share/doc/$package/copyright"; \
  done; \
  mkdir -p /image/etc /image/chaperone; \
  cp /etc/os-release /image/etc/; \
  echo 'chaperone:x:65532:65532::/:/nonexistent' >/image/etc/passwd; \
  echo 'chaperone:x:65532:' >/image/etc/group; \
  echo 'hosts: files dns' >/image/etc/nsswitch.conf; \
  cp -r /made/bundles/. /image/chaperone/; \
  install -m 1777 -d /image/tmp; \
  # Started as the container's first process by somebody who is not root, setpriv keeps the one capability that it is
  # given and hands it on; nft takes it from there.
  setcap cap_net_admin+ep /image/usr/bin/setpriv; \
  setcap cap_net_admin+ep /image/usr/sbin/nft

FROM scratch
COPY --from=files /image/ /
WORKDIR /chaperone
USER 65532:65532
# As measured, and as "npm start" starts it (cli/dev/child.ts). A pod may set other sizes: the last flag counts.
ENV MALLOC_MMAP_THRESHOLD_=262144 MALLOC_ARENA_MAX=2
# Without --disable-sigusr1 a signal would open a debugger.
ENTRYPOINT ["/usr/bin/node", "--max-semi-space-size=16", "--max-old-space-size=1024", "--disable-sigusr1"]
CMD ["sidecar.cjs"]
