// Classifies the camera of an Android phone with an exported LiteRT file.
//
// build.gradle.kts:
//   implementation("com.google.ai.edge.litert:litert:1.4.0")
//   implementation("androidx.camera:camera-camera2:1.4.2")
//   implementation("androidx.camera:camera-lifecycle:1.4.2")
//   androidResources { noCompress += "tflite" }
// assets: tflite/w8a8/model.tflite and tflite/w8a8/model.json of the export.
//
// For networks that take video only. Not compiled by the tests of Pocketreel.

package org.example.clips

import android.content.Context
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.core.CameraSelector
import androidx.core.content.ContextCompat
import androidx.lifecycle.LifecycleOwner
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import java.util.concurrent.Executors
import kotlin.math.ceil
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.roundToInt
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/** The most likely class of a label column and its probability. */
data class Prediction(val label: String, val name: String, val probability: Float)

class ClipClassifier(context: Context, threads: Int = 4) : AutoCloseable {
    private val manifest = JSONObject(context.assets.open("model.json").bufferedReader().use { it.readText() })
    private val clip = manifest.getJSONObject("clip")
    private val file = manifest.getJSONObject("file")
    private val frames = clip.getInt("frames")
    private val size = clip.getInt("size")
    private val resize = clip.getInt("resize")
    private val stride = if (clip.getString("sampling") == "strided") clip.getInt("stride") else null
    private val interpreter: Interpreter

    /** Pictures `size size 3` in 0..1 with their times in seconds, oldest first. */
    private val window = ArrayDeque<Pair<Double, FloatArray>>()

    init {
        val asset = context.assets.openFd("model.tflite")
        val model = FileInputStream(asset.fileDescriptor).channel.map(
            FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength
        )
        interpreter = Interpreter(model, Interpreter.Options().setNumThreads(threads))
    }

    /**
     * Adds a camera frame in RGBA_8888 and classifies the latest clip; null while frames are missing.
     *
     * `seconds` is the duration of a clip for a network with uniform sampling.
     */
    fun add(image: ImageProxy, seconds: Double = 2.0): List<Prediction>? {
        window.addLast(image.imageInfo.timestamp / 1e9 to picture(image))
        val chosen = if (stride != null) {
            val needed = (frames - 1) * stride + 1
            while (window.size > needed) window.removeFirst()
            if (window.size < needed) return null
            (0 until frames).map { window[it * stride].second }
        } else {
            while (window.last().first - window.first().first >= seconds) window.removeFirst()
            if (window.size < frames) return null
            val start = window.first().first
            (0 until frames).map { i ->
                val asked = start + (i + 0.5) * seconds / frames + 1e-6
                window.last { it.first <= asked }.second
            }
        }
        return run(chosen)
    }

    /** LiteRT files take `N T H W C`: the pictures one after the other. */
    private fun run(pictures: List<FloatArray>): List<Prediction> {
        val input = ByteBuffer.allocateDirect(4 * frames * size * size * 3).order(ByteOrder.nativeOrder())
        pictures.forEach { input.asFloatBuffer().put(it); input.position(input.position() + 4 * it.size) }
        input.rewind()
        val labels = manifest.getJSONArray("labels")
        val names = file.getJSONArray("outputs")
        val outputs = (0 until names.length()).associate { k ->
            val classes = labels.getJSONObject(k).getJSONArray("classes").length()
            names.getJSONObject(k).getString("name") to Array(1) { FloatArray(classes) }
        }
        interpreter.runSignature(mapOf<String, Any>("clip" to input), outputs, "serving_default")
        return outputs.values.mapIndexed { k, logits ->
            val values = logits[0]
            val best = values.indices.maxBy { values[it] }
            val sum = values.sumOf { exp((it - values[best]).toDouble()) }
            val label = labels.getJSONObject(k)
            Prediction(label.getString("name"), label.getJSONArray("classes").getString(best), (1 / sum).toFloat())
        }
    }

    /**
     * Scales the short side to `resize` with antialiasing, then crops the centre.
     *
     * CameraX has converted to RGB before scaling, so single pixels differ slightly from the manifest's rule, which
     * scales the YUV planes. `Bitmap.createScaledBitmap` has no antialiasing and must not be used.
     */
    private fun picture(image: ImageProxy): FloatArray {
        val turned = image.imageInfo.rotationDegrees % 180 != 0
        val (width, height) = if (turned) image.height to image.width else image.width to image.height
        val factor = resize.toDouble() / minOf(width, height)
        val scaledWidth = max(resize, (width * factor).roundToInt())
        val scaledHeight = max(resize, (height * factor).roundToInt())
        val inner = (resize - size) / 2
        val columns = weights(width, scaledWidth, (scaledWidth - resize) / 2 + inner)
        val rows = weights(height, scaledHeight, (scaledHeight - resize) / 2 + inner)
        val plane = image.planes[0]
        val bytes = plane.buffer
        val narrow = FloatArray(height * size * 3)
        for (y in 0 until height) for (x in 0 until size) {
            val (begin, values) = columns[x]
            for (k in values.indices) {
                val (sx, sy) = source(begin + k, y, image)
                val at = sy * plane.rowStride + sx * plane.pixelStride
                for (c in 0 until 3) {
                    narrow[(y * size + x) * 3 + c] += values[k] * (bytes.get(at + c).toInt() and 0xff)
                }
            }
        }
        val result = FloatArray(size * size * 3)
        for (y in 0 until size) {
            val (begin, values) = rows[y]
            for (k in values.indices) for (x in 0 until size * 3) {
                result[y * size * 3 + x] += values[k] * narrow[(begin + k) * size * 3 + x]
            }
        }
        for (i in result.indices) result[i] = result[i].roundToInt() / 255f
        return result
    }

    /** Position in the buffer of pixel (x, y) of the upright frame. */
    private fun source(x: Int, y: Int, image: ImageProxy): Pair<Int, Int> = when (image.imageInfo.rotationDegrees) {
        90 -> y to image.height - 1 - x
        180 -> image.width - 1 - x to image.height - 1 - y
        270 -> image.width - 1 - y to x
        else -> x to y
    }

    private val known = HashMap<Triple<Int, Int, Int>, List<Pair<Int, FloatArray>>>()

    /** First source pixel and weights of each of the `size` outputs from `first` on, of n scaled from m. */
    private fun weights(m: Int, n: Int, first: Int) = known.getOrPut(Triple(m, n, first)) {
        val scale = m.toDouble() / n
        val radius = max(1.0, scale)
        (first until first + size).map { i ->
            val centre = (i + 0.5) * scale - 0.5
            val begin = max(0, ceil(centre - radius).toInt())
            val end = minOf(m - 1, floor(centre + radius).toInt())
            val values = FloatArray(end - begin + 1)
            // Pixels beyond an edge repeat the outermost one.
            for (j in ceil(centre - radius).toInt()..floor(centre + radius).toInt()) {
                values[j.coerceIn(begin, end) - begin] += max(0.0, 1 - kotlin.math.abs(j - centre) / radius).toFloat()
            }
            val sum = values.sum()
            begin to FloatArray(values.size) { values[it] / sum }
        }
    }

    override fun close() = interpreter.close()
}

/** Calls `show` with the predictions for the back camera until the owner is destroyed. */
fun classifyCamera(context: Context, owner: LifecycleOwner, show: (List<Prediction>) -> Unit) {
    val classifier = ClipClassifier(context)
    val analysis = ImageAnalysis.Builder()
        .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
        .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
        .build()
    analysis.setAnalyzer(Executors.newSingleThreadExecutor()) { image ->
        image.use { classifier.add(it)?.let(show) }
    }
    ProcessCameraProvider.getInstance(context).let { future ->
        future.addListener(
            { future.get().bindToLifecycle(owner, CameraSelector.DEFAULT_BACK_CAMERA, analysis) },
            ContextCompat.getMainExecutor(context),
        )
    }
}
