"""What was predicted of a result, and measured, stands in the report."""

import json

from test_details import words

from ramify.report import write_report

ROW = {"cost": 7.25, "low": 7.0, "high": 7.5, "measured": 7.5, "off": 0.0345}


def test_predictions_stand_beside_what_was_measured(tmp_path):
    (tmp_path / "config.yaml").write_text("strategy:\n  class_path: GDAS\nseed: 0\n")
    result = {
        "notation": "x",
        "limits": {"file:a.json": {"most": 8.0, **ROW}},
        "predicted": {"file:b.json": ROW, "file:c.json": {"cost": 3.0, "differs": "device cuda instead of cpu"}},
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    said = words(write_report(tmp_path, graphs={}, choices=None).read_text())
    assert "Limit of file:a.json 7.25 of 8, measured 7.5" in said
    assert "Predicted file:b.json 7.25, measured 7.5" in said and "Predicted file:c.json 3" in said
