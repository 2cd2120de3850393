// Classifies the camera of an iPhone or a Mac with an exported Core ML package.
//
// Add coreml/<scheme>/model.mlpackage and coreml/<scheme>/model.json to the app's target; Xcode compiles the package.
// iOS 17 or macOS 14. For networks that take video only. Not compiled by the tests of Pocketreel.

import AVFoundation
import CoreImage
import CoreML

/// The most likely class of a label column and its probability.
struct Prediction {
    let label: String
    let name: String
    let probability: Float
}

/// `model.json` of the export: what this program needs of it.
struct Manifest: Decodable {
    struct Clip: Decodable {
        let frames: Int
        let sampling: String
        let stride: Int?
        let size: Int
        let resize: Int
    }
    struct Label: Decodable {
        let name: String
        let classes: [String]
    }
    struct File: Decodable {
        struct Output: Decodable { let name: String }
        let outputs: [Output]
    }
    let clip: Clip
    let labels: [Label]
    let file: File
}

final class ClipClassifier {
    private let manifest: Manifest
    private let model: MLModel
    /// Pictures `3 S S` in 0..1 with their times in seconds, oldest first.
    private var window: [(time: Double, picture: [Float])] = []

    init(bundle: Bundle = .main) throws {
        let description = bundle.url(forResource: "model", withExtension: "json")!
        manifest = try JSONDecoder().decode(Manifest.self, from: Data(contentsOf: description))
        let configuration = MLModelConfiguration()
        configuration.computeUnits = .all
        let compiled = bundle.url(forResource: "model", withExtension: "mlmodelc")!
        model = try MLModel(contentsOf: compiled, configuration: configuration)
    }

    /// Adds a camera frame (`kCVPixelFormatType_32BGRA`, upright) and classifies the latest clip; nil while frames are
    /// missing. `seconds` is the duration of a clip for a network with uniform sampling.
    func add(_ frame: CVPixelBuffer, at time: Double, seconds: Double = 2) throws -> [Prediction]? {
        let clip = manifest.clip
        window.append((time, picture(frame)))
        var chosen: [[Float]]
        if clip.sampling == "strided" {
            let stride = clip.stride ?? 1
            let needed = (clip.frames - 1) * stride + 1
            window.removeFirst(max(0, window.count - needed))
            guard window.count == needed else { return nil }
            chosen = (0..<clip.frames).map { window[$0 * stride].picture }
        } else {
            window.removeAll { window.last!.time - $0.time >= seconds }
            guard window.count >= clip.frames else { return nil }
            let start = window[0].time
            chosen = (0..<clip.frames).map { i in
                let asked = start + (Double(i) + 0.5) * seconds / Double(clip.frames) + 1e-6
                return window.last { $0.time <= asked }!.picture
            }
        }
        return try run(chosen)
    }

    /// Core ML packages take `N C T H W`.
    private func run(_ pictures: [[Float]]) throws -> [Prediction] {
        let (frames, size) = (manifest.clip.frames, manifest.clip.size)
        let shape = [1, 3, frames, size, size].map { NSNumber(value: $0) }
        let input = try MLMultiArray(shape: shape, dataType: .float32)
        input.withUnsafeMutableBufferPointer(ofType: Float.self) { values, strides in
            for (t, picture) in pictures.enumerated() {
                for c in 0..<3 {
                    for y in 0..<size {
                        for x in 0..<size {
                            let at = c * strides[1] + t * strides[2] + y * strides[3] + x * strides[4]
                            values[at] = picture[(c * size + y) * size + x]
                        }
                    }
                }
            }
        }
        let features = try MLDictionaryFeatureProvider(dictionary: ["clip": input])
        let outputs = try model.prediction(from: features)
        return zip(manifest.labels, manifest.file.outputs).map { label, output in
            let logits = outputs.featureValue(for: output.name)!.multiArrayValue!
            let values = label.classes.indices.map { logits[[0, NSNumber(value: $0)]].floatValue }
            let best = values.indices.max { values[$0] < values[$1] }!
            let sum = values.reduce(0) { $0 + exp($1 - values[best]) }
            return Prediction(label: label.name, name: label.classes[best], probability: 1 / sum)
        }
    }

    /// Scales the short side to `resize` with antialiasing, then crops the centre.
    ///
    /// The camera has converted to RGB before scaling, so single pixels differ slightly from the manifest's rule, which
    /// scales the YUV planes. The scalers of Core Image and vImage use other filters.
    private func picture(_ frame: CVPixelBuffer) -> [Float] {
        CVPixelBufferLockBaseAddress(frame, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(frame, .readOnly) }
        let (width, height) = (CVPixelBufferGetWidth(frame), CVPixelBufferGetHeight(frame))
        let stride = CVPixelBufferGetBytesPerRow(frame)
        let bytes = CVPixelBufferGetBaseAddress(frame)!.assumingMemoryBound(to: UInt8.self)
        let (size, resize) = (manifest.clip.size, manifest.clip.resize)
        let factor = Double(resize) / Double(min(width, height))
        let scaledWidth = max(resize, Int((Double(width) * factor).rounded(.toNearestOrEven)))
        let scaledHeight = max(resize, Int((Double(height) * factor).rounded(.toNearestOrEven)))
        let inner = (resize - size) / 2
        let columns = weights(width, scaledWidth, from: (scaledWidth - resize) / 2 + inner)
        let rows = weights(height, scaledHeight, from: (scaledHeight - resize) / 2 + inner)
        var narrow = [Float](repeating: 0, count: 3 * height * size)
        for y in 0..<height {
            for x in 0..<size {
                for (k, weight) in columns[x].values.enumerated() {
                    let at = y * stride + 4 * (columns[x].first + k)
                    for c in 0..<3 {  // BGRA to RGB
                        narrow[(c * height + y) * size + x] += weight * Float(bytes[at + 2 - c])
                    }
                }
            }
        }
        var result = [Float](repeating: 0, count: 3 * size * size)
        for c in 0..<3 {
            for y in 0..<size {
                for (k, weight) in rows[y].values.enumerated() {
                    for x in 0..<size {
                        result[(c * size + y) * size + x] += weight * narrow[(c * height + rows[y].first + k) * size + x]
                    }
                }
            }
        }
        return result.map { $0.rounded(.toNearestOrEven) / 255 }
    }

    /// First source pixel and weights of each of the `size` outputs from `from` on, of n scaled from m.
    private func weights(_ m: Int, _ n: Int, from: Int) -> [(first: Int, values: [Float])] {
        let scale = Double(m) / Double(n)
        let radius = max(1, scale)
        return (from..<from + manifest.clip.size).map { i in
            let centre = (Double(i) + 0.5) * scale - 0.5
            let (low, high) = (Int((centre - radius).rounded(.up)), Int((centre + radius).rounded(.down)))
            let (first, last) = (max(0, low), min(m - 1, high))
            var values = [Float](repeating: 0, count: last - first + 1)
            for j in low...high {  // pixels beyond an edge repeat the outermost one
                values[min(max(j, first), last) - first] += Float(max(0, 1 - abs(Double(j) - centre) / radius))
            }
            let sum = values.reduce(0, +)
            return (first, values.map { $0 / sum })
        }
    }
}

/// Calls `show` with the predictions for the default camera, on a queue of its own.
final class CameraClassifier: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    private let session = AVCaptureSession()
    private let classifier: ClipClassifier
    private let show: ([Prediction]) -> Void

    init(show: @escaping ([Prediction]) -> Void) throws {
        classifier = try ClipClassifier()
        self.show = show
        super.init()
        guard let camera = AVCaptureDevice.default(for: .video) else { return }
        session.addInput(try AVCaptureDeviceInput(device: camera))
        let output = AVCaptureVideoDataOutput()
        output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
        output.alwaysDiscardsLateVideoFrames = true
        output.setSampleBufferDelegate(self, queue: DispatchQueue(label: "clips"))
        session.addOutput(output)
        output.connection(with: .video)?.videoRotationAngle = 90  // upright in portrait
    }

    func start() { session.startRunning() }

    func captureOutput(_: AVCaptureOutput, didOutput buffer: CMSampleBuffer, from _: AVCaptureConnection) {
        guard let frame = CMSampleBufferGetImageBuffer(buffer) else { return }
        let time = CMSampleBufferGetPresentationTimeStamp(buffer).seconds
        if let found = try? classifier.add(frame, at: time) { show(found) }
    }
}
