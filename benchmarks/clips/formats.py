"""Which kinds of files are opened: containers of video and sound that hold what they show.

Playlists, descriptions of streams, patterns of file names, devices and text are known to FFmpeg too, are found in
any file by its content, and fetch other files or answers from a network while they are opened. They are refused by
name, before a byte beyond the first ones is read.
"""

from __future__ import annotations

_VIDEO = """
mov,mp4,m4a,3gp,3g2,mj2 matroska,webm avi mpegts mpegtsraw mpeg mpegvideo flv live_flv kux ogg asf asf_o nut
mxf gxf wtv dv dhav rm rl2 swf ivf obu av1 h261 h263 h264 hevc vvc evc avs2 avs3 m4v mjpeg mjpeg_2000 mpjpeg
ingenient vc1 vc1test dirac dnxhd cavsvideo ipu apv gif apng jpegxl_anim webp yuv4mpegpipe amv film_cpk flic
smk bink roq mvi mv nsv nuv pmp pva psp c93 bethsoftvid bfi cdxl dfa dxa ea idcin iv8 ivr jv lmlm4 lvf mm
mods moflex mtv rpl siff smjpeg smush sga thp tmv ty viv vivo vmd vqf wc3movie wsvqa xmv yop 4xm anm
argo_asf argo_brp argo_cvg filmstrip frm gdv hnm iff kvag luodat mlv paf seq sls tiertexseq usm vividas xa
cine r3d lxf ifv ipmovie avs bmv dsicin simbiosis_imx
"""
_SOUND = """
wav w64 mp3 aac ac3 eac3 ac4 flac aiff au caf amr amrnb amrwb ape apc apac aptx aptx_hd dts dtshd truehd mlp
tta wv mpc mpc8 tak shn ast aea act bonk brstm bfstm bit codec2 dsf iff dss voc sox nistsphere ircam loas
latm lc3 oma opus osq oss qcp qoa rso sbc sds sdr2 svag tak vpk wady wavarc wve xwma xvag ilbc gsm g722
g723_1 g729 g726 g726le hca hcom iamf binka epaf genh aa aax adp ads adx afc aix alp apm avr daud derf dfpwm
fsb fwse msf nsp pvf rsd sol svs xmd
"""
ALLOWED = ",".join((_VIDEO + _SOUND).split())
"""FFmpeg's names of the kinds that are opened, for its option `format_whitelist`."""

_REFUSED = {
    "concat": "a list of other files",
    "concatf": "a list of other files",
    "hls": "a list of other files",
    "dash": "a list of other files",
    "imf": "a list of other files",
    "webm_dash_manifest": "a list of other files",
    "sdp": "a description of a network stream",
    "rtsp": "a description of a network stream",
    "rtp": "a description of a network stream",
    "sap": "a description of a network stream",
    "tty": "a text file",
    "lavfi": "a description of filters",
}


def refused_kind(kind: str) -> str:
    """What a file of a kind is that is not opened, as FFmpeg calls the kind."""
    if kind.endswith("_pipe") or kind in ("image2", "ico"):
        return f"is a still picture ({kind.removesuffix('_pipe')}), not a video"
    if kind in _REFUSED:
        return f"is {_REFUSED[kind]}, not a video"
    return f"is of the kind {kind!r}, which holds neither picture nor sound that are read here"
