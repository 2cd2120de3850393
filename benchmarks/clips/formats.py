"""The supported file formats: containers that hold their own video and audio.

FFmpeg also supports playlists, stream descriptions, file name patterns, devices and text. It detects them by the
content of any file, and opening them may read other files or access a network. They are refused by format name,
before more than the first bytes are read.
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
"""FFmpeg's names of the supported formats, for its option `format_whitelist`."""

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
    """Describes an unsupported format, given by its FFmpeg name."""
    if kind.endswith("_pipe") or kind in ("image2", "ico"):
        return f"is a still image ({kind.removesuffix('_pipe')}), not a video"
    if kind in _REFUSED:
        return f"is {_REFUSED[kind]}, not a video"
    return f"has the format {kind!r}, which is not supported for video or audio"
