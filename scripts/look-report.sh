#!/usr/bin/env bash
# Opens reports of replay, verify and produce in a headless Chromium, at the width of a desk and of a phone: no script may fail and no
# page be wider than its window. Pictures are left in target/bench/report.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
command -v chromium >/dev/null || apt-get install -y --no-install-recommends chromium
cargo build --workspace --release --locked --bin slackwater
slackwater="$CARGO_TARGET_DIR/release/slackwater"
out=target/bench/report
mkdir -p "$out"
out=$(realpath "$out")
fixture=runtime-fixtures/chain/guest-chain.json
"$slackwater" replay --mode both "$fixture" --fuel-profile "$out/folded" --report "$out/replay.html" >/dev/null
"$slackwater" replay --path whole --fuel off "$fixture" --report "$out/whole.html" >/dev/null
"$slackwater" record --force "$out/recording" --fixture "$fixture" >/dev/null
"$slackwater" verify "$out/recording" --fixture "$fixture" --threads 2 --report "$out/verify.html" >/dev/null
spec="${SLACKWATER_FIXTURES:-../shared/fixtures}/genesis/smoldot-substrate-node-template.json"
offered=(--spec "$spec" --transfers 200)
[[ -f $spec ]] || offered=(--spec "$fixture" --extrinsics /dev/null)
"$slackwater" produce "${offered[@]}" --blocks 5 --report "$out/produce.html" >/dev/null
# A chain that diverges: another root is stated of a block.
sed '0,/"state_root": "0x/s//"state_root": "0xff/; 0,/"state_root": "0xff\(.\{62\}\)../s//"state_root": "0xff\1/' \
    "$fixture" >"$out/diverging.json"
"$slackwater" replay "$out/diverging.json" --report "$out/diverging.html" >/dev/null || [[ $? -eq 1 ]]

browse() {
    local profile
    profile=$(mktemp -d)
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --allow-file-access-from-files --hide-scrollbars \
        --enable-logging=stderr --user-data-dir="$profile" --virtual-time-budget=4000 "$@" 2>"$out/console"
    rm -rf "$profile"
}

failed=0
for page in replay whole verify produce diverging; do
    for width in 390 1280; do
        # The page in a frame of this width, and how wide it wants to be.
        cat >"$out/frame.html" <<HTML
<iframe id="f" src="$page.html" style="border:0;width:${width}px;height:900px"></iframe><p id="p"></p>
<script>setTimeout(() => { const d = document.getElementById('f').contentDocument.documentElement;
document.getElementById('p').textContent = 'wide ' + d.scrollWidth + ' charts ' + d.querySelectorAll('svg').length; }, 2000);</script>
HTML
        measured=$(browse --dump-dom "file://$out/frame.html" | sed -n 's/.*\(wide [0-9]* charts [0-9]*\).*/\1/p')
        errors=$(grep -c 'CONSOLE.*\(Uncaught\|Error\)' "$out/console" || true)
        browse --window-size="$((width < 500 ? 500 : width)),4000" --screenshot="$out/$page-$width.png" "file://$out/$page.html"
        printf '%-10s %5s px: %s, %s errors\n' "$page" "$width" "${measured:-not drawn}" "$errors"
        read -r _ wide _ charts <<<"${measured:-_ 9999 _ 0}"
        [[ $errors -eq 0 && $wide -le $width ]] || failed=1
        [[ $charts -gt 0 || $page == diverging ]] || failed=1
    done
done
rm -f "$out/frame.html" "$out/console" "$out/diverging.json"
exit "$failed"
