#include "worker/pipeline/image_codec.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <jpeglib.h>
#include <png.h>
#include <webp/decode.h>
#include <webp/encode.h>

#include "absl/strings/match.h"
#include "base/status.h"

namespace promptsweep::worker {
namespace {

absl::Status CheckSize(int64_t width, int64_t height) {
  if (width < 1 || height < 1 || width > kMaxImageSide || height > kMaxImageSide || width * height > kMaxImagePixels) {
    return absl::InvalidArgumentError(absl::StrCat("an image of ", width, "x", height, " pixels is outside 1..", kMaxImageSide,
                                                   " a side and ", kMaxImagePixels, " in all"));
  }
  return absl::OkStatus();
}

absl::Status CheckPixels(absl::string_view rgb, int width, int height) {
  PS_RETURN_IF_ERROR(CheckSize(width, height));
  if (rgb.size() != size_t{3} * width * height) {
    return absl::InvalidArgumentError(absl::StrCat(rgb.size(), " bytes are not ", width, "x", height, " RGB pixels"));
  }
  return absl::OkStatus();
}

const uint8_t* Bytes(absl::string_view bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }

// RGBA over white, rounded to nearest.
Image OverWhite(const std::string& rgba, int width, int height) {
  Image image{width, height, std::string(size_t{3} * width * height, '\0')};
  const uint8_t* in = Bytes(rgba);
  uint8_t* out = reinterpret_cast<uint8_t*>(image.rgb.data());
  for (size_t pixel = 0; pixel < rgba.size() / 4; ++pixel, in += 4, out += 3) {
    const int alpha = in[3];
    for (int channel = 0; channel < 3; ++channel) {
      out[channel] = static_cast<uint8_t>((in[channel] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
  return image;
}

// --- WebP

absl::StatusOr<ImageHeader> WebpHeader(absl::string_view bytes) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(Bytes(bytes), bytes.size(), &features) != VP8_STATUS_OK) {
    return absl::InvalidArgumentError("the WebP header is damaged");
  }
  if (features.has_animation) return absl::InvalidArgumentError("an animated WebP is not one image");
  PS_RETURN_IF_ERROR(CheckSize(features.width, features.height));
  return ImageHeader{v1::IMAGE_FORMAT_WEBP, features.width, features.height};
}

absl::StatusOr<Image> DecodeWebp(absl::string_view bytes) {
  PS_ASSIGN_OR_RETURN(const ImageHeader header, WebpHeader(bytes));
  std::string rgba(size_t{4} * header.width * header.height, '\0');
  if (WebPDecodeRGBAInto(Bytes(bytes), bytes.size(), reinterpret_cast<uint8_t*>(rgba.data()), rgba.size(), 4 * header.width) ==
      nullptr) {
    return absl::InvalidArgumentError("the WebP data is damaged or cut short");
  }
  return OverWhite(rgba, header.width, header.height);
}

// --- PNG: libpng's simplified interface keeps its longjmp inside.

struct PngReader {
  png_image image;
  PngReader() {
    std::memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
  }
  ~PngReader() { png_image_free(&image); }
};

absl::Status BeginPng(absl::string_view bytes, PngReader& reader) {
  if (!png_image_begin_read_from_memory(&reader.image, bytes.data(), bytes.size())) {
    return absl::InvalidArgumentError(absl::StrCat("PNG: ", reader.image.message));
  }
  return CheckSize(reader.image.width, reader.image.height);
}

absl::StatusOr<Image> DecodePng(absl::string_view bytes) {
  PngReader reader;
  PS_RETURN_IF_ERROR(BeginPng(bytes, reader));
  reader.image.format = PNG_FORMAT_RGBA;
  const int width = static_cast<int>(reader.image.width);
  const int height = static_cast<int>(reader.image.height);
  std::string rgba(size_t{4} * width * height, '\0');
  if (!png_image_finish_read(&reader.image, nullptr, rgba.data(), 4 * width, nullptr)) {
    return absl::InvalidArgumentError(absl::StrCat("PNG: ", reader.image.message));
  }
  return OverWhite(rgba, width, height);
}

// --- JPEG: libjpeg reports errors by longjmp, so the frames between setjmp and it hold nothing that needs a destructor.

// A progressive file of a few kilobytes can ask for thousands of passes over every pixel.
constexpr int kMaxJpegScans = 256;

struct JpegReader {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};

void JpegFail(j_common_ptr info) {
  auto* reader = static_cast<JpegReader*>(info->client_data);
  (*info->err->format_message)(info, reader->message);
  std::longjmp(reader->escape, 1);
}

// Warnings are about damaged data: the picture would be partly grey.
void JpegMessage(j_common_ptr info, int level) {
  if (level < 0) JpegFail(info);
}

void JpegProgress(j_common_ptr info) {
  auto* reader = static_cast<JpegReader*>(info->client_data);
  if (reader->info.input_scan_number > kMaxJpegScans) {
    std::snprintf(reader->message, sizeof reader->message, "more than %d scans", kMaxJpegScans);
    std::longjmp(reader->escape, 1);
  }
}

bool JpegBegin(JpegReader* reader, const uint8_t* bytes, size_t size) {
  if (setjmp(reader->escape)) return false;
  jpeg_create_decompress(&reader->info);
  reader->info.client_data = reader;
  reader->progress.progress_monitor = JpegProgress;
  reader->info.progress = &reader->progress;
  reader->info.mem->max_memory_to_use = 512L << 20;
  jpeg_mem_src(&reader->info, bytes, size);
  jpeg_read_header(&reader->info, TRUE);
  return true;
}

bool JpegPixels(JpegReader* reader, uint8_t* rgb) {
  if (setjmp(reader->escape)) return false;
  reader->info.out_color_space = JCS_RGB;
  jpeg_start_decompress(&reader->info);
  const size_t stride = size_t{3} * reader->info.output_width;
  while (reader->info.output_scanline < reader->info.output_height) {
    JSAMPROW row = rgb + stride * reader->info.output_scanline;
    jpeg_read_scanlines(&reader->info, &row, 1);
  }
  jpeg_finish_decompress(&reader->info);
  return true;
}

// Owns the C structures from before the first setjmp to after the last.
class Jpeg {
 public:
  Jpeg() : reader_(new JpegReader) {
    std::memset(reader_.get(), 0, sizeof(JpegReader));
    reader_->info.err = jpeg_std_error(&reader_->errors);
    reader_->info.client_data = reader_.get();
    reader_->errors.error_exit = JpegFail;
    reader_->errors.emit_message = JpegMessage;
  }
  ~Jpeg() { jpeg_destroy_decompress(&reader_->info); }
  absl::StatusOr<ImageHeader> Begin(absl::string_view bytes) {
    if (!JpegBegin(reader_.get(), Bytes(bytes), bytes.size())) return Error();
    PS_RETURN_IF_ERROR(CheckSize(reader_->info.image_width, reader_->info.image_height));
    if (reader_->info.jpeg_color_space == JCS_CMYK || reader_->info.jpeg_color_space == JCS_YCCK) {
      return absl::InvalidArgumentError("a CMYK JPEG has no RGB pixels");
    }
    return ImageHeader{v1::IMAGE_FORMAT_JPEG, static_cast<int>(reader_->info.image_width),
                       static_cast<int>(reader_->info.image_height)};
  }
  absl::Status Pixels(std::string& rgb) {
    if (!JpegPixels(reader_.get(), reinterpret_cast<uint8_t*>(rgb.data()))) return Error();
    return absl::OkStatus();
  }

 private:
  absl::Status Error() const { return absl::InvalidArgumentError(absl::StrCat("JPEG: ", reader_->message)); }
  const std::unique_ptr<JpegReader> reader_;
};

absl::StatusOr<Image> DecodeJpeg(absl::string_view bytes) {
  Jpeg jpeg;
  PS_ASSIGN_OR_RETURN(const ImageHeader header, jpeg.Begin(bytes));
  Image image{header.width, header.height, std::string(size_t{3} * header.width * header.height, '\0')};
  PS_RETURN_IF_ERROR(jpeg.Pixels(image.rgb));
  return image;
}

absl::Status UnknownFormat() { return absl::InvalidArgumentError("the bytes are not a WebP, PNG or JPEG image"); }

}  // namespace

v1::ImageFormat SniffImageFormat(absl::string_view bytes) {
  if (bytes.size() >= 12 && absl::StartsWith(bytes, "RIFF") && bytes.substr(8, 4) == "WEBP") return v1::IMAGE_FORMAT_WEBP;
  if (absl::StartsWith(bytes, absl::string_view("\x89PNG\r\n\x1a\n", 8))) return v1::IMAGE_FORMAT_PNG;
  if (absl::StartsWith(bytes, "\xff\xd8\xff")) return v1::IMAGE_FORMAT_JPEG;
  return v1::IMAGE_FORMAT_UNSPECIFIED;
}

absl::StatusOr<ImageHeader> ReadImageHeader(absl::string_view bytes) {
  switch (SniffImageFormat(bytes)) {
    case v1::IMAGE_FORMAT_WEBP:
      return WebpHeader(bytes);
    case v1::IMAGE_FORMAT_PNG: {
      PngReader reader;
      PS_RETURN_IF_ERROR(BeginPng(bytes, reader));
      return ImageHeader{v1::IMAGE_FORMAT_PNG, static_cast<int>(reader.image.width), static_cast<int>(reader.image.height)};
    }
    case v1::IMAGE_FORMAT_JPEG: {
      Jpeg jpeg;
      return jpeg.Begin(bytes);
    }
    default:
      return UnknownFormat();
  }
}

absl::StatusOr<Image> DecodeImage(absl::string_view bytes) {
  switch (SniffImageFormat(bytes)) {
    case v1::IMAGE_FORMAT_WEBP:
      return DecodeWebp(bytes);
    case v1::IMAGE_FORMAT_PNG:
      return DecodePng(bytes);
    case v1::IMAGE_FORMAT_JPEG:
      return DecodeJpeg(bytes);
    default:
      return UnknownFormat();
  }
}

absl::StatusOr<std::string> EncodeWebp(absl::string_view rgb, int width, int height, int effort) {
  PS_RETURN_IF_ERROR(CheckPixels(rgb, width, height));
  WebPConfig config;
  if (!WebPConfigInit(&config) || !WebPConfigLosslessPreset(&config, effort)) {
    return absl::InvalidArgumentError(absl::StrCat("WebP has no effort ", effort));
  }
  struct Picture {
    WebPPicture picture;
    WebPMemoryWriter writer;
    ~Picture() {
      WebPPictureFree(&picture);
      WebPMemoryWriterClear(&writer);
    }
  } out;
  WebPMemoryWriterInit(&out.writer);
  if (!WebPPictureInit(&out.picture)) return absl::InternalError("libwebp is of another version");
  out.picture.use_argb = 1;
  out.picture.width = width;
  out.picture.height = height;
  out.picture.writer = WebPMemoryWrite;
  out.picture.custom_ptr = &out.writer;
  if (!WebPPictureImportRGB(&out.picture, Bytes(rgb), 3 * width) || !WebPEncode(&config, &out.picture)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("WebP encoding failed with code ", static_cast<int>(out.picture.error_code)));
  }
  return std::string(reinterpret_cast<const char*>(out.writer.mem), out.writer.size);
}

absl::StatusOr<std::string> EncodePng(absl::string_view rgb, int width, int height) {
  PS_RETURN_IF_ERROR(CheckPixels(rgb, width, height));
  PngReader out;
  out.image.width = width;
  out.image.height = height;
  out.image.format = PNG_FORMAT_RGB;
  out.image.flags = PNG_IMAGE_FLAG_FAST;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(out.image), '\0');
  png_alloc_size_t size = bytes.size();
  if (!png_image_write_to_memory(&out.image, bytes.data(), &size, 0, rgb.data(), 3 * width, nullptr)) {
    return absl::ResourceExhaustedError(absl::StrCat("PNG: ", out.image.message));
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace promptsweep::worker
